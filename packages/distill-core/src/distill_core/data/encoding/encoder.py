"""What encodes, and how its results are stored: what encoding videos and encoding captions share. Knows no family.

Whatever has the two encoding methods will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from distill_core.data.encoding.encoder_keys import EncoderKeys
from distill_core.data.encoding.keys import Keys
from distill_core.data.encoding.report import Fate, Listener
from distill_core.data.encoding.store import CAPTION_CHANGE, Store
from distill_core.data.reading.origin import Origin
from distill_core.data.reading.tensors import is_finite
from distill_core.errors import DataError
from distill_core.plugins.columns import Column
from distill_core.plugins.specs import ModelFacts
from distill_core.protocols.model import EncodesColumns

CAPTIONS_KEPT = 256
"""Encoded captions that are kept in memory for other clips with the same words."""


class Encoder(Protocol):
    """The part of a :class:`distill_core.protocols.ModelPlugin` that encodes."""

    def encode_video(self, frames: Tensor) -> Tensor:
        """uint8 frames [F, H, W, 3] as one raw latent [C, T, H, W], float32 on the CPU."""
        ...

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        """Captions as float32 tensors [L, D] on the CPU, trimmed to their own number of tokens."""
        ...

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """How many tokens each caption has before it is cut at the text length."""
        ...


@dataclass(frozen=True)
class Encoding:
    """What encodes, and what its results are stored as.

    Attributes:
        encoder: the encoders of a model.
        facts: the same model's facts, which latents must fit.
        dtype: the dtype that tensors are stored in.
        origin: what the data set records of all this.
        listener: hears the fates of each clip or caption as they are known.
    """

    encoder: Encoder
    facts: ModelFacts
    dtype: torch.dtype
    origin: Origin
    listener: Listener

    @property
    def keys(self) -> Keys:
        """What makes the keys of its rows: a latent rests on the autoencoder alone, a caption on the other encoders."""
        encoders = EncoderKeys(self.origin.encoders, self.origin.parts)
        latents = encoders.parts.get(self.facts.autoencoder, encoders.whole)
        texts = encoders.without(self.facts.autoencoder).whole
        return Keys(latents, texts, str(self.dtype).removeprefix("torch."), self.origin.text_length)


@dataclass(frozen=True)
class EncodedCaption:
    """A caption as it is stored.

    Attributes:
        text_LD: [L, D].
        changes: what was done to it, in words, each beginning with CAPTION_CHANGE.
    """

    text_LD: Tensor
    changes: tuple[str, ...] = ()


@dataclass
class CaptionEncoder:
    """Encodes captions, each text once."""

    encoding: Encoding
    store: Store
    recent: dict[str, EncodedCaption] = field(default_factory=dict)

    def __call__(self, caption: str) -> EncodedCaption:
        """As it is stored. Raises DataError if it cannot be."""
        key = self.encoding.keys.text(caption)
        if key not in self.recent:
            stored = self.store.text(key)
            if stored is None:
                (text_LD,) = self.encoding.encoder.encode_caption([caption])
                stored = storable(text_LD, self.encoding.dtype, "text embedding")
            if len(self.recent) >= CAPTIONS_KEPT:
                del self.recent[next(iter(self.recent))]
            self.recent[key] = EncodedCaption(stored, self._changes(caption, len(stored)))
        return self.recent[key]

    def _changes(self, caption: str, kept: int) -> tuple[str, ...]:
        """What was done to a caption of which so many tokens are kept."""
        if kept != self.encoding.origin.text_length:
            return ()
        (tokens,) = self.encoding.encoder.count_tokens([caption])
        return (f"{CAPTION_CHANGE} cut at the text length (from {tokens} to {kept} tokens)",) if tokens > kept else ()


def check_made(encoding: Encoding) -> None:
    """Raise DataError for a model whose family declares columns and does not make them."""
    if encoding.facts.columns and not isinstance(encoding.encoder, EncodesColumns):
        raise DataError(unmade(encoding.facts))


def unmade(facts: ModelFacts) -> str:
    """Why data for a model whose family does not make its columns cannot be encoded here."""
    wanted = "; ".join(f"{column.described}: {column.made_by}" for column in facts.columns)
    return f"data for {facts.path} hold what `distill data encode` does not make: {wanted}"


def declared(
    encoding: Encoding, columns: Sequence[Column], frames: Tensor | None, caption: str, latent_CTHW: Tensor | None
) -> Mapping[str, Tensor]:
    """Those columns of a clip, or of a caption alone. Raises DataError for one that the family did not make, or made of another shape."""
    encoder = encoding.encoder
    if not columns or not isinstance(encoder, EncodesColumns):
        return {}
    return checked_columns(encoding, columns, encoder.encode_columns(frames, caption), latent_CTHW)


def checked_columns(
    encoding: Encoding, columns: Sequence[Column], made: Mapping[str, Tensor], latent_CTHW: Tensor | None
) -> Mapping[str, Tensor]:
    """Columns as they are stored. Raises DataError for one that the family did not make, or made of another shape."""
    found: dict[str, Tensor] = {}
    for column in columns:
        if column.name not in made:
            raise DataError(f"its family made no {column.described}")
        if misfit := column.misshape(made[column.name].shape, None if latent_CTHW is None else latent_CTHW.shape):
            raise DataError(f"{column.name} {misfit}")
        found[column.name] = storable(made[column.name], encoding.dtype, column.name)
    return found


def heard(found: Iterator[tuple[Fate, ...]], listener: Listener) -> tuple[Fate, ...]:
    """All fates, told to the listener as they come."""
    heard_fates: list[Fate] = []
    for fates in found:
        listener(fates)
        heard_fates += fates
    return tuple(heard_fates)


def storable(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """The tensor in the dtype that it is stored in. Raises DataError if that leaves a value that is not finite."""
    stored = tensor.to(dtype).contiguous()
    if not is_finite(stored):
        raise DataError(f"its {name} is not finite in {str(dtype).removeprefix('torch.')}; try another --dtype")
    return stored
