"""Light looks at folders that break the contract. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_core.plugins.specs import LatentSpace, ModelFacts
from distill_core.testing.toy_spec import TEXT_LENGTH, TEXT_WIDTH, inspect


def trusting(path: str) -> ModelFacts:
    """Whatever stands there, it is a toy."""
    try:
        return inspect(path)
    except ModelFolderError:
        space = LatentSpace(2, 4, 4, (0.5, 0.5), (2.0, 2.0))
        return ModelFacts(Path(path), "a toy", space, TEXT_WIDTH, TEXT_LENGTH, (1, 1, 1), (64, 64, 64))


def careless(path: str) -> ModelFacts:
    """Opens what may not be there."""
    (Path(path) / "toy.json").read_text()
    return inspect(path)
