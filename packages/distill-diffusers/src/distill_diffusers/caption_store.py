"""Encoded captions on disk, with a run: what an earlier process of it encoded is not encoded again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from distill_core.durable import beside, naming, sync
from distill_diffusers.conditions import CaptionTensors

_DIGEST = 32


class CaptionStore:
    """One file per caption, in a folder. Nothing rests on it: what is missing, damaged or of other encoders is encoded anew.

    ``key`` says what encodes them; captions of another key are not found. ``writes``: whether new ones are kept.
    """

    def __init__(self, folder: Path, key: str, *, writes: bool = True) -> None:
        self.folder = folder
        self.key = key
        self.writes = writes

    def _file(self, caption: str) -> Path:
        name = hashlib.blake2b(f"{self.key}\0{caption}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return self.folder / f"{name}.safetensors"

    def get(self, caption: str) -> CaptionTensors | None:
        """What was kept of a caption; None if nothing was, or a bit of it has changed."""
        file = self._file(caption)
        try:
            content = b"" if file.is_symlink() else file.read_bytes()
        except OSError:
            return None
        digest, tensors = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(tensors).digest() != digest:
            return None
        try:
            found: CaptionTensors = load(tensors)
        except SafetensorError:
            return None
        return found

    def put(self, caption: str, made: CaptionTensors) -> None:
        """Keep a caption, whole or not at all."""
        if not self.writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = save({name: tensor.contiguous() for name, tensor in made.items()})
        file = self._file(caption)
        new = beside(file)
        try:
            with naming(new):
                new.write_bytes(hashlib.sha256(tensors).digest() + tensors)
            sync(new)
            new.replace(file)
        finally:
            new.unlink(missing_ok=True)
