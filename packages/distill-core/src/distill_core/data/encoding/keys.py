"""Names that follow from content: two clips have one key where decoding and encoding them gives the same tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from distill_core.data.encoding.rules import ClipRules
from distill_core.video.decoder import decoder_version

VERSION = 2
"""Rises when the same clip, model and settings come to give other tensors."""


def digest(*parts: object) -> str:
    """128 bits of a key's parts, in hexadecimal."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Keys:
    """Makes the keys of one encoding.

    Attributes:
        latents: the key of what makes latents of pixels, from :func:`distill_core.data.encoding.encoder_keys.encoder_keys`.
        texts: the key of what encodes captions.
        dtype: what tensors are stored in, by name.
        text_length: the tokens that captions are cut at.
    """

    latents: str
    texts: str
    dtype: str
    text_length: int | None = None

    def latent(self, video: str, rules: ClipRules) -> str:
        """The key of all clips of a video, whose bytes have the hash ``video``."""
        return digest("latent", VERSION, self.latents, self.dtype, decoder_version(), video, rules)

    def shown(self, caption: str, pictures: Iterable[Path], size_FHW: tuple[int, int, int]) -> str:
        """The key of an encoded caption and the pictures beside it, for videos of a size in pixels."""
        return digest(self.text(caption), self.latents, *map(hash_file, pictures), size_FHW)

    def text(self, caption: str) -> str:
        """The key of an encoded caption."""
        return digest("text", VERSION, self.texts, self.dtype, self.text_length, caption)
