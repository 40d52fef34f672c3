"""Whether data were encoded by the encoders of the model that they are to train. Says so; refuses nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from distill_core.data.encoding.keys import encoder_files, hash_encoders
from distill_core.data.reading.files import ParquetFacts
from distill_core.data.reading.origin import Origin
from distill_core.plugins.specs import ModelFacts


class OwnEncoders:
    """The encoders of one model, as data are compared with them.

    Their files are hashed only where need be: not if the data name the same folder, and are younger than what is in it.
    """

    def __init__(self, family: str, name: str, facts: ModelFacts) -> None:
        self._family = family
        self._name = name
        self._facts = facts

    def notes(self, path: object, files: Iterable[ParquetFacts]) -> Iterator[str]:
        """What is to be said of the files of the data set at ``path`` that other encoders made, as far as files record it."""
        said = set[tuple[str, str]]()
        for file in files:
            origin = Origin.of(file.metadata)
            if origin is None or (origin.model, origin.encoders) in said or self._made(origin, file):
                continue
            said.add((origin.model, origin.encoders))
            yield (
                f"{path} was encoded with {origin.model} ({origin.family}), and the encoders of {self._name} ({self._family}) are others: "
                "what one encodes means little to a model of the other; encode with the model that is trained, unless the two agree"
            )

    def _made(self, origin: Origin, file: ParquetFacts) -> bool:
        """Whether they made a file of this origin."""
        if origin.family != self._family:
            return False
        here = Path(origin.model).is_dir() and Path(origin.model).resolve() == self._facts.path.resolve()
        if here and self._changed < file.path.stat().st_mtime:
            return True
        return self._hash == origin.encoders

    @cached_property
    def _hash(self) -> str:
        return hash_encoders(self._facts)

    @cached_property
    def _changed(self) -> float:
        """When the last of their files was written."""
        return max((file.stat().st_mtime for file in encoder_files(self._facts)), default=float("inf"))
