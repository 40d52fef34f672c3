"""Videos to training data: each clip through a model's encoders into parquet, its fate into a report.

No clip is dropped without a reason on record, and none is encoded that has been before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

from torch import Tensor

from distill_core.data.encoding.clips import Clip, cut_clips
from distill_core.data.encoding.encoder import CaptionEncoder, Encoding, check_made, declared, heard, storable
from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.keys import hash_file
from distill_core.data.encoding.read_ahead import read_ahead
from distill_core.data.encoding.report import Fate
from distill_core.data.encoding.rules import ClipRules
from distill_core.data.encoding.sources import Source
from distill_core.data.encoding.store import ClipOrigin, Store, StoredClip
from distill_core.data.encoding.wall import Wall
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord, with_columns
from distill_core.errors import DataError

NOTHING_MORE: Mapping[str, Tensor] = MappingProxyType({})
"""The further tensors of a clip whose family declares none."""

CLIPS_AHEAD = 2
"""Clips that are decoded while others are encoded."""


def encode_videos(
    sources: Sequence[Source], folder: EncodingFolder, encoding: Encoding, rules: ClipRules
) -> tuple[Fate, ...]:
    """Encode this shard's sources into T2V rows, as far as the claimed ``folder`` has none of them.

    Raises DataError for a model whose family declares columns and does not make them.
    """
    check_made(encoding)
    schema = with_columns(T2V_SCHEMA, encoding.facts.columns).with_metadata(encoding.origin.metadata())
    store = Store(folder.work, schema.names)
    with ParquetWriter(folder.work, schema, name=f"data{folder.shard.suffix}") as writer:
        work = _Videos(encoding, rules, store, writer, CaptionEncoder(encoding, store))
        return heard(work.encode(folder.shard.part(sources)), encoding.listener)


@dataclass(frozen=True)
class _Look:
    """What a look at a video has found, one of three.

    Attributes:
        source: the video.
        latent_key: the key of its clips.
        settled: its fates, where there is nothing to encode.
        known: all its clips with their latents, where they have been encoded under another name or with another caption.
        new: its next clip, where they have not.
    """

    source: Source
    latent_key: str = ""
    settled: tuple[Fate, ...] = ()
    known: tuple[tuple[StoredClip, Tensor], ...] = ()
    new: Clip | None = None


@dataclass(frozen=True)
class _Videos:
    """Encodes videos, one after another; the next one is looked at and decoded meanwhile."""

    encoding: Encoding
    rules: ClipRules
    store: Store
    writer: ParquetWriter
    caption: CaptionEncoder

    def encode(self, sources: Sequence[Source]) -> Iterator[tuple[Fate, ...]]:
        """Add the clips of each video to the data, unless they are there, or something about it forbids that."""
        with closing(read_ahead((look for source in sources for look in self._look(source)), CLIPS_AHEAD)) as looks:
            for _, found in groupby(looks, key=lambda look: look.source):
                yield self._encoded(found)

    def _look(self, source: Source) -> Iterator[_Look]:
        """Read and decode one video, as far as there is need to; in another thread."""
        if source.refusal:
            yield _Look(source, settled=_refused(source, source.refusal))
            return
        with Wall(source.path) as wall:
            key = self.encoding.keys.latent(hash_file(source.path), self.rules)
            stored = self.store.clips(key, source.name)
            kept = tuple(clip.fate() for clip in stored)
            if stored and [fate.identity for fate in kept] == self._due(source, key, len(stored)):
                yield _Look(source, key, settled=kept)
            elif known := self._latents(stored):
                yield _Look(source, key, known=known)
            else:
                for clip in cut_clips(source.path, self.rules):
                    yield _Look(source, key, new=clip)
        if wall.reason:
            yield _Look(source, settled=_refused(source, wall.reason))

    def _due(self, source: Source, latent_key: str, clips: int) -> list[tuple[str, str, str]]:
        """What the rows of a video with so many clips are known by."""
        text_key = self.encoding.keys.text(source.caption)
        return [(_clip_id(source, number), latent_key, text_key) for number in range(clips)]

    def _latents(self, stored: Sequence[StoredClip]) -> tuple[tuple[StoredClip, Tensor], ...]:
        """All stored clips of a video with their latents; nothing if one of them is damaged, or if columns are due that need its frames."""
        if self.encoding.facts.columns:
            return ()
        latents = [(clip, self.store.latent(clip)) for clip in stored]
        found = tuple((clip, latent_CTHW) for clip, latent_CTHW in latents if latent_CTHW is not None)
        return found if len(found) == len(stored) else ()

    def _encoded(self, found: Iterable[_Look]) -> tuple[Fate, ...]:
        """Encode what was found of one video. If one clip of it cannot be encoded, it is refused as a whole."""
        records: list[ClipRecord] = []
        for look in found:
            if look.settled:
                return look.settled
            try:
                for clip, latent_CTHW in look.known:
                    records.append(self._record(look, len(records), latent_CTHW, clip.unchanged()))
                if look.new is not None:
                    records.append(self._new_record(look, len(records), look.new))
            except DataError as error:
                return _refused(look.source, str(error))
        self.writer.add(*records)
        return tuple(map(_fate, records))

    def _new_record(self, look: _Look, number: int, clip: Clip) -> ClipRecord:
        """The row of a new clip. Raises DataError if its latent does not fit the model or cannot be stored."""
        frames, height, width, _ = clip.frames.shape
        latent_CTHW = storable(self.encoding.encoder.encode_video(clip.frames), self.encoding.dtype, "latent")
        if misfit := self.encoding.facts.misfit(tuple(latent_CTHW.shape)):
            raise DataError(f"its latents do not fit the model: {misfit}")
        origin = ClipOrigin(width, height, frames, clip.fps, clip.start, clip.changes)
        caption, columns = look.source.caption, self.encoding.facts.columns
        tensors = declared(self.encoding, columns, clip.frames, caption, latent_CTHW)
        return self._record(look, number, latent_CTHW, origin, tensors)

    def _record(
        self,
        look: _Look,
        number: int,
        latent_CTHW: Tensor,
        origin: ClipOrigin,
        tensors: Mapping[str, Tensor] = NOTHING_MORE,
    ) -> ClipRecord:
        """The row of a clip. Raises DataError if its caption cannot be stored."""
        caption = self.caption(look.source.caption)
        return ClipRecord(
            id=_clip_id(look.source, number),
            caption=look.source.caption,
            text_LD=caption.text_LD,
            latent_CTHW=latent_CTHW,
            file_name=look.source.name,
            width=origin.width,
            height=origin.height,
            num_frames=origin.num_frames,
            fps=origin.fps,
            start_sec=origin.start_sec,
            changes=(*origin.changes, *caption.changes),
            latent_key=look.latent_key,
            text_key=self.encoding.keys.text(look.source.caption),
            tensors=tensors,
        )


def _refused(source: Source, reason: str) -> tuple[Fate, ...]:
    """The fate of a video that no row is made of."""
    return (Fate(source.name, encoded=False, reason=reason),)


def _clip_id(source: Source, number: int) -> str:
    """The id of a video's clip, counted from 0."""
    return source.name if not number else f"{source.name}#{number + 1}"


def _fate(record: ClipRecord) -> Fate:
    """What the report says of a clip that was encoded."""
    return Fate(
        record.id,
        encoded=True,
        changes=record.changes,
        pixels=(record.num_frames, record.height, record.width),
        latent=tuple(record.latent_CTHW.shape),
        text=tuple(record.text_LD.shape),
        latent_key=record.latent_key,
        text_key=record.text_key,
    )
