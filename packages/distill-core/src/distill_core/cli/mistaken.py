"""A model's folder that is named where a data set is asked for: what the families say of it. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_core.errors import DataError, ModelFolderError, UnsupportedMemberError
from distill_core.plugins.discovery import discover
from distill_core.plugins.recognition import recognised


@contextmanager
def no_model(path: Path) -> Iterator[None]:
    """Inside, an error in reading a data set says so if the folder is a model's, and which."""
    try:
        yield
    except DataError as error:
        said = _model(path)
        if said is None:
            raise
        raise DataError(f"{path} is no data set: {said}; a model is named by --model") from error


def _model(path: Path) -> str | None:
    """What a family knows of a folder; None where none does."""
    if not any(path.glob("*.json")):
        return None
    try:
        (_, facts), *_ = recognised(str(path), discover(), "is no model")
    except UnsupportedMemberError as refusal:
        return str(refusal)
    except ModelFolderError:
        return None
    return f"it is a model ({facts.summary})"
