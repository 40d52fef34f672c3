"""Whether data were encoded by the encoders of the model that they are to train. Says so; refuses nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from distill_core.data.encoding.encoder_keys import EncoderKeys, encoder_files, encoder_keys
from distill_core.data.reading.files import ParquetFacts
from distill_core.data.reading.origin import Origin
from distill_core.plugins.specs import ModelFacts


class OwnEncoders:
    """The encoders of one model, as data are compared with them: each that the data rest on, as far as it encodes.

    Their files are hashed only where need be: not if the data name the same folder, and are younger than what is in it.
    """

    def __init__(self, family: str, name: str, facts: ModelFacts) -> None:
        self._family = family
        self._name = name
        self._facts = facts
        self._known: dict[str, EncoderKeys] = {}

    def notes(self, path: object, files: Iterable[ParquetFacts]) -> Iterator[str]:
        """What is to be said of the files of the data set at ``path`` that other encoders made, as far as files record it."""
        said = set[tuple[str, str]]()
        for file in files:
            origin = Origin.of(file.metadata)
            if origin is None or (origin.model, origin.encoders) in said or self._unchanged(origin, file):
                continue
            others = self._others(origin)
            if others == []:
                continue
            said.add((origin.model, origin.encoders))
            which = "the encoders" if others is None else f"the {' and the '.join(others)}"
            verb = "is another" if others is not None and len(others) == 1 else "are others"
            yield (
                f"{path} was encoded with {origin.model} ({origin.family}), and {which} of {self._name} ({self._family}) {verb}: "
                "what one encodes means little to a model of the other; encode with the model that is trained, unless the two agree"
            )

    def _unchanged(self, origin: Origin, file: ParquetFacts) -> bool:
        """Whether they made a file of this origin for certain: it names their folder, which has not changed since."""
        folder = Path(origin.model)
        own = origin.family == self._family and folder.is_dir() and folder.resolve() == self._facts.path.resolve()
        return own and self._changed < file.path.stat().st_mtime

    def _others(self, origin: Origin) -> list[str] | None:
        """Those by which a file of this origin would be encoded otherwise; None where that is not known."""
        if origin.family != self._family:
            return None
        theirs, autoencoder = origin.parts, self._facts.autoencoder
        keys = self._keys(without=autoencoder if theirs and autoencoder not in theirs else "")
        own = keys.parts
        if not own or not theirs:
            return [] if keys.whole == origin.encoders else None
        return [part for part in sorted({*theirs, *own}) if theirs.get(part) != own.get(part)]

    def _keys(self, without: str) -> EncoderKeys:
        if without not in self._known:
            self._known[without] = encoder_keys(self._facts, without)
        return self._known[without]

    @cached_property
    def _changed(self) -> float:
        """When the last of their files was written."""
        return max((file.stat().st_mtime for file in encoder_files(self._facts)), default=float("inf"))
