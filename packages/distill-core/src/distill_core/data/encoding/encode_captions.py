"""Captions alone to text-only training data, each once; its fate into a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distill_core.data.encoding.captions import CaptionEntry
from distill_core.data.encoding.encoder import CaptionEncoder, Encoding, check_made, declared, heard
from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.report import Fate
from distill_core.data.encoding.store import Store
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import TEXT_ONLY_SCHEMA, CaptionRecord, with_columns
from distill_core.errors import DataError
from distill_core.plugins.columns import Column


def encode_captions(entries: Sequence[CaptionEntry], folder: EncodingFolder, encoding: Encoding) -> tuple[Fate, ...]:
    """Encode this shard's captions into text-only rows, as far as the claimed ``folder`` has none of them."""
    columns = [column for column in encoding.facts.columns if column.of_caption]
    if columns:
        check_made(encoding)
    schema = with_columns(TEXT_ONLY_SCHEMA, columns).with_metadata(encoding.origin.metadata())
    store = Store(folder.work, schema.names)
    with ParquetWriter(folder.work, schema, name=f"data{folder.shard.suffix}") as writer:
        work = _Texts(encoding, columns, store, writer, CaptionEncoder(encoding, store))
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

    def encode(self, entry: CaptionEntry) -> tuple[Fate, ...]:
        """Add one caption to the data, unless it is there, or cannot be stored."""
        if not entry.caption:
            return (Fate(f"line {entry.line}", encoded=False, reason=entry.fault or "it has no caption"),)
        key = self.encoding.keys.text(entry.caption)
        stored = self.store.caption(caption_id(entry), key)
        if stored is not None:
            return (stored.fate(),)
        try:
            encoded = self.caption(entry.caption)
            tensors = declared(self.encoding, self.columns, None, entry.caption, None)
            record = CaptionRecord(caption_id(entry), entry.caption, encoded.text_LD, key, encoded.changes, tensors)
        except DataError as error:
            return (Fate(f"line {entry.line}", encoded=False, reason=str(error)),)
        self.writer.add(record)
        return (Fate(record.id, encoded=True, changes=record.changes, text=tuple(record.text_LD.shape), text_key=key),)
