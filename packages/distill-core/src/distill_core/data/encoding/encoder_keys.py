"""What tells the encoders of two models apart: one key of them all, and one of what each of them encodes by."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from distill_core.data.encoding.keys import digest, hash_file
from distill_core.plugins.specs import ModelFacts

_SNAPSHOT = re.compile(r"[0-9a-f]{40}")
_TENSORS = ".safetensors"


@dataclass(frozen=True)
class _Tensor:
    """What the header of a safetensors file says of one."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    def hash(self, content: memoryview) -> str:
        """Of what it is, in a file's content behind the header."""
        begin, end = self.data_offsets
        return digest(self.dtype, self.shape, hashlib.sha256(content[begin:end]).hexdigest())


_HEADER = TypeAdapter(dict[str, _Tensor | dict[str, str]])
"""Tensors by their names, and texts of the writer's."""


@dataclass(frozen=True)
class EncoderKeys:
    """The keys of one model's encoders: of their weights and every other file, but for the weights that only decode.

    Attributes:
        whole: of all of them.
        parts: of each, by the names of their subfolders. Empty where they are not told apart: spread over the folder, or a snapshot of the
            Hub.
    """

    whole: str
    parts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def together(cls, parts: Mapping[str, str]) -> EncoderKeys:
        """The keys of encoders that have each one of its own."""
        return cls(digest(*_lines(parts)), parts)

    def without(self, part: str) -> EncoderKeys:
        """The keys of all but one of them; these, where it is not told apart."""
        left = {name: known for name, known in self.parts.items() if name != part}
        return self if left == self.parts else EncoderKeys.together(left)


def encoder_keys(facts: ModelFacts, without: str = "") -> EncoderKeys:
    """The keys of a model's encoders, whose files are read once; those of the one that is left out are not read, where it is told apart.

    A snapshot of the Hugging Face Hub is known by its commit, which is such a key already, and needs no weights to be there yet.
    """
    if facts.path.parent.name == "snapshots" and _SNAPSHOT.fullmatch(facts.path.name):
        return EncoderKeys(digest(facts.path.name))
    names = (_name(facts, file) for file in encoder_files(facts))
    if not facts.encoders:
        return EncoderKeys(digest(*_lines({name: _hash_of_encoding(facts, name) for name in names})))
    parts = sorted({*facts.encoders} - {without})
    used = {name: _hash_of_encoding(facts, name) for name in names if name.partition("/")[0] in parts}
    return EncoderKeys.together({part: digest(*_lines(used, f"{part}/")) for part in parts})


def _name(facts: ModelFacts, file: Path) -> str:
    """A file's path in the model's folder."""
    return file.relative_to(facts.path).as_posix()


def _lines(hashes: Mapping[str, str], start: str = "") -> Iterator[str]:
    """Names that begin so, with their hashes."""
    return (f"{name} {known}" for name, known in hashes.items() if name.startswith(start))


def _hash_of_encoding(facts: ModelFacts, name: str) -> str:
    """A hash of those weights of a file that encode; of its content, where all may."""
    if not facts.decoding or not name.startswith(f"{facts.autoencoder}/") or not name.endswith(_TENSORS):
        return hash_file(facts.path / name)
    content = memoryview((facts.path / name).read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    try:
        header = _HEADER.validate_json(bytes(content[8:begin]))
    except ValidationError:
        return hash_file(facts.path / name)  # no safetensors file: who loads it will say so
    tensors = {tensor: said for tensor, said in header.items() if isinstance(said, _Tensor)}
    encoding = (tensor for tensor in sorted(tensors) if not tensor.startswith(facts.decoding))
    return digest(*(f"{tensor} {tensors[tensor].hash(content[begin:])}" for tensor in encoding))


def encoder_files(facts: ModelFacts) -> list[Path]:
    """Every file of a model's encoders."""
    return sorted(_files(facts.path / part for part in facts.encoders) if facts.encoders else _files([facts.path]))


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    """Every file in these folders and below."""
    for path in paths:
        yield from (file for file in path.rglob("*") if file.is_file())
