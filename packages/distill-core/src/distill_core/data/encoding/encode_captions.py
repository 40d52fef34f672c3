"""Captions alone to text-only training data, each once; its fate into a report. Of a model that is shown pictures, each with its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from distill_core.data.encoding.captions import CaptionEntry
from distill_core.data.encoding.encoder import (
    CaptionEncoder,
    Encoding,
    check_made,
    checked_columns,
    declared,
    heard,
    unmade,
)
from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.report import Fate
from distill_core.data.encoding.store import Store
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import TEXT_ONLY_SCHEMA, CaptionRecord, with_columns
from distill_core.errors import DataError
from distill_core.plugins.columns import Column
from distill_core.plugins.specs import ModelFacts
from distill_core.protocols.model import EncodesPictures
from distill_core.video.reading import read_picture


@dataclass(frozen=True)
class ShownCaptions:
    """What captions alone need to stand beside pictures.

    Attributes:
        size_FHW: pixels of the videos that are made of them.
        folder: where the paths of pictures start.
    """

    size_FHW: tuple[int, int, int]
    folder: Path

    @classmethod
    def of(cls, facts: ModelFacts, size: Sequence[int | None], captions: Path) -> ShownCaptions | None:
        """For a model that is shown pictures; None for any other. Raises DataError unless frames, height and width are all said."""
        if not facts.pictures:
            return None
        frames, height, width = size
        if frames is None or height is None or width is None:
            raise DataError(
                f"{facts.path} makes videos of pictures, which are encoded for one size; say --num-frames, --height and --width"
            )
        space = facts.latent_space
        latent_frames = space.latent_frames(frames)
        if latent_frames is None or height % space.spatial_stride or width % space.spatial_stride:
            raise DataError(
                f"{frames} frames of {width}×{height} are no whole latents: frames go by {space.temporal_stride} after the first, rows "
                f"and columns by {space.spatial_stride}"
            )
        latent = (space.channels, latent_frames, height // space.spatial_stride, width // space.spatial_stride)
        if misfit := facts.misfit(latent):
            raise DataError(f"videos of {frames} frames of {width}×{height} do not fit {facts.path}: {misfit}")
        return cls((frames, height, width), captions.parent)

    def files(self, entry: CaptionEntry, facts: ModelFacts) -> list[Path]:
        """The pictures of a caption. Raises DataError for one that names fewer than the model is shown."""
        missing = [name for name in facts.pictures if name not in entry.pictures]
        if missing:
            raise DataError(f"it names no {' and no '.join(missing)}; add a column `image` (and `last_image`) of files")
        return [self.folder / entry.pictures[name] for name in facts.pictures]


def encode_captions(
    entries: Sequence[CaptionEntry], folder: EncodingFolder, encoding: Encoding, shown: ShownCaptions | None = None
) -> tuple[Fate, ...]:
    """Encode this shard's captions into text-only rows, as far as the claimed ``folder`` has none of them."""
    columns = [column for column in encoding.facts.columns if column.of_caption or shown is not None]
    if columns:
        check_made(encoding)
    schema = with_columns(TEXT_ONLY_SCHEMA, columns).with_metadata(encoding.origin.metadata())
    store = Store(folder.work, schema.names)
    with ParquetWriter(folder.work, schema, name=f"data{folder.shard.suffix}") as writer:
        work = _Texts(encoding, columns, store, writer, CaptionEncoder(encoding, store), shown)
        return heard((work.encode(entry) for entry in folder.shard.part(entries)), encoding.listener)


def caption_id(entry: CaptionEntry) -> str:
    """The id of a caption's row in text-only data."""
    return f"caption-{entry.line:06d}"


@dataclass(frozen=True)
class _Texts:
    """Encodes captions alone, one after another."""

    encoding: Encoding
    columns: Sequence[Column]
    store: Store
    writer: ParquetWriter
    caption: CaptionEncoder
    shown: ShownCaptions | None

    def encode(self, entry: CaptionEntry) -> tuple[Fate, ...]:
        """Add one caption to the data, unless it is there, or cannot be stored."""
        if not entry.caption:
            return (Fate(f"line {entry.line}", encoded=False, reason=entry.fault or "it has no caption"),)
        try:
            pictures = [] if self.shown is None else self.shown.files(entry, self.encoding.facts)
            key = self._key(entry.caption, pictures)
            stored = self.store.caption(caption_id(entry), key)
            if stored is not None:
                return (stored.fate(),)
            encoded = self.caption(entry.caption)
            tensors = self._columns(entry.caption, pictures)
            record = CaptionRecord(caption_id(entry), entry.caption, encoded.text_LD, key, encoded.changes, tensors)
        except (DataError, OSError) as error:
            return (Fate(f"line {entry.line}", encoded=False, reason=str(error)),)
        self.writer.add(record)
        return (Fate(record.id, encoded=True, changes=record.changes, text=tuple(record.text_LD.shape), text_key=key),)

    def _key(self, caption: str, pictures: Sequence[Path]) -> str:
        keys = self.encoding.keys
        return keys.text(caption) if self.shown is None else keys.shown(caption, pictures, self.shown.size_FHW)

    def _columns(self, caption: str, pictures: Sequence[Path]) -> Mapping[str, Tensor]:
        """What the family makes of the caption, or of the pictures beside it."""
        if self.shown is None:
            return declared(self.encoding, self.columns, None, caption, None)
        encoder = self.encoding.encoder
        if not isinstance(encoder, EncodesPictures):
            raise DataError(unmade(self.encoding.facts))
        made = encoder.encode_pictures([read_picture(file) for file in pictures], self.shown.size_FHW)
        return checked_columns(self.encoding, self.columns, made, None)
