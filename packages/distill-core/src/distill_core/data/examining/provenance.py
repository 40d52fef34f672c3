"""Whether data were encoded by the encoders of the model that they are to train. Says so; refuses nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from distill_core.data.encoding.encoder_keys import EncoderKeys, encoder_files, encoder_keys
from distill_core.data.reading.columns import LATENT_COLUMNS
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
        self._there: dict[tuple[str, str], Mapping[str, str]] = {}

    def notes(self, path: object, files: Iterable[ParquetFacts]) -> Iterator[str]:
        """What is to be said of the files of the data set at ``path`` that other encoders made, as far as files record it."""
        said = set[tuple[str, str]]()
        for file in files:
            origin = Origin.of(file.metadata)
            if origin is None or (origin.model, origin.encoders) in said or self._made(origin, file):
                continue
            others = self._others(origin, latents=any(name in file.columns for name in LATENT_COLUMNS))
            if others == []:
                continue
            said.add((origin.model, origin.encoders))
            which = "the encoders" if others is None else f"the {' and the '.join(others)}"
            verb = "is another" if others is not None and len(others) == 1 else "are others"
            yield (
                f"{path} was encoded with {origin.model} ({origin.family}), and {which} of {self._name} ({self._family}) {verb}: "
                "what one encodes means little to a model of the other; encode with the model that is trained, unless the two agree"
            )

    def _made(self, origin: Origin, file: ParquetFacts) -> bool:
        """Whether they made a file of this origin, all of them."""
        if origin.family != self._family:
            return False
        if self._is_own(Path(origin.model)) and self._changed < file.path.stat().st_mtime:
            return True
        return self._keys.whole == origin.encoders

    def _others(self, origin: Origin, *, latents: bool) -> list[str] | None:
        """Those by which a file of this origin would be encoded otherwise; None where that is not known."""
        if origin.family != self._family:
            return None
        own = self._keys.parts
        theirs = (origin.parts or self._parts_there(origin)) if own else {}
        if not theirs:
            return None
        return [
            part
            for part in sorted({*theirs, *own})
            if theirs.get(part) != own.get(part) and (latents or part != self._facts.autoencoder)
        ]

    def _parts_there(self, origin: Origin) -> Mapping[str, str]:
        """Of data that do not record them: the keys of the model that they name, if it is still there as it was."""
        place = (origin.model, origin.encoders)
        if place not in self._there:
            folder = Path(origin.model)
            known = folder.is_dir() and not self._is_own(folder)
            found = encoder_keys(replace(self._facts, path=folder)) if known else EncoderKeys("")
            self._there[place] = found.parts if found.whole == origin.encoders else {}
        return self._there[place]

    def _is_own(self, folder: Path) -> bool:
        return folder.is_dir() and folder.resolve() == self._facts.path.resolve()

    @cached_property
    def _keys(self) -> EncoderKeys:
        return encoder_keys(self._facts)

    @cached_property
    def _changed(self) -> float:
        """When the last of their files was written."""
        return max((file.stat().st_mtime for file in encoder_files(self._facts)), default=float("inf"))
