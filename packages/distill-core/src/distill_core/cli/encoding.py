"""The work of ``distill data encode``: check everything that is cheap to check, then encode; encoders are loaded for what is new.

Knows the terminal and the plugins; what encoding is lies in :mod:`distill_core.data.encoding.encode_videos`.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from distill_core import terminal
from distill_core.cli.encode_progress import EncodeProgress, encode_progress
from distill_core.cli.family import chosen_model
from distill_core.cli.late_encoder import EncoderWhenNeeded
from distill_core.cli.waiting import waiting
from distill_core.data.encoding.captions import CaptionEntry, read_captions
from distill_core.data.encoding.encode_captions import ShownCaptions, caption_id, encode_captions
from distill_core.data.encoding.encode_videos import encode_videos
from distill_core.data.encoding.encoder import Encoding
from distill_core.data.encoding.encoder_keys import encoder_keys
from distill_core.data.encoding.folder import REPORT, EncodingFolder
from distill_core.data.encoding.report import Fate
from distill_core.data.encoding.rules import DEFAULT_HDR, ClipRules, Hdr, clip_rules
from distill_core.data.encoding.shard import Shard
from distill_core.data.encoding.sources import Source, find_sources
from distill_core.data.reading.origin import Origin
from distill_core.data.reading.tensors import DTYPES
from distill_core.errors import DataError, StoppedError
from distill_core.plugins.discovery import discover
from distill_core.plugins.specs import ModelFacts
from distill_core.stopping import Stopping
from distill_core.terminal import line

KEPT = "what is encoded is kept, and the same command goes on with it"
SKIPPED_SHOWN = 20
"""Skipped clips that the console lists; the report has them all."""


@dataclass(frozen=True)
class EncodeRequest:
    """What the command line asked for; the fields are its options. Sizes are pixels, ``fps`` frames per second."""

    source: Path
    model: str
    output: Path
    family: str | None = None
    num_frames: int | None = None
    height: int | None = None
    width: int | None = None
    bucket: tuple[str, ...] = ()
    clips_per_video: int = 1
    fps: float | None = None
    hdr: Hdr = DEFAULT_HDR
    captions: Path | None = None
    captions_only: bool = False
    dtype: str = "float32"
    text_length: int | None = None
    shard: str | None = None
    overwrite: bool = False

    @property
    def buckets(self) -> tuple[tuple[int, int, int], ...]:
        """F, H and W of each bucket. Raises DataError for one that is not of the form FxHxW or HxW."""
        return tuple(map(_bucket, self.bucket))

    def settings(self, facts: ModelFacts) -> dict[str, object]:
        """What decides about the rows, by the names of the options; those that have no effect are left out."""
        if self.captions_only and facts.pictures:
            size = {"num_frames": self.num_frames, "height": self.height, "width": self.width}
            return {"kind": "captions and pictures", "dtype": self.dtype, **size}
        kind = "captions only" if self.captions_only else "clips"
        asked = {"num_frames": self.num_frames, "height": self.height, "width": self.width, "fps": self.fps}
        clips: dict[str, object] = {**asked, "bucket": list(self.bucket), "clips_per_video": self.clips_per_video}
        if self.hdr != DEFAULT_HDR:
            clips["hdr"] = self.hdr
        return {"kind": kind, "dtype": self.dtype, **({} if self.captions_only else clips)}


def _bucket(text: str) -> tuple[int, int, int]:
    """F, H and W out of an option; without F it is one of pictures."""
    match = re.fullmatch(r"(?:(\d+)x)?(\d+)x(\d+)", text)
    if match is None:
        raise DataError(
            f"--bucket {text} is not of the form FRAMESxHEIGHTxWIDTH, e.g. 81x480x832; of pictures, HEIGHTxWIDTH"
        )
    return int(match[1] or 1), int(match[2]), int(match[3])


@dataclass(frozen=True)
class _Work:
    """What there is to encode: captions alone, or videos by rules."""

    entries: Sequence[CaptionEntry]
    sources: Sequence[Source]
    rules: ClipRules
    shown: ShownCaptions | None = None

    @classmethod
    def of(cls, request: EncodeRequest, facts: ModelFacts) -> _Work:
        """Find it. Raises DataError for a source or an option that cannot be understood."""
        rules = clip_rules(
            facts,
            num_frames=request.num_frames,
            height=request.height,
            width=request.width,
            fps=request.fps,
            buckets=request.buckets,
            clips_per_video=request.clips_per_video,
            hdr=request.hdr,
        )
        if request.captions_only:
            size = (request.num_frames, request.height, request.width)
            shown = ShownCaptions.of(facts, size, request.source)
            return cls(read_captions(request.source), (), rules, shown)
        return cls((), find_sources(request.source, request.captions), rules)

    def names(self) -> list[str]:
        """What its rows will be made from."""
        return [source.name for source in self.sources] + [caption_id(entry) for entry in self.entries]

    def total(self, shard: Shard) -> int:
        """How many of them are a shard's."""
        return len(shard.part(self.sources)) + len(shard.part(self.entries))

    def encode(self, folder: EncodingFolder, encoding: Encoding) -> tuple[Fate, ...]:
        """Do it."""
        if self.entries:
            return encode_captions(self.entries, folder, encoding, self.shown)
        return encode_videos(self.sources, folder, encoding, self.rules)


@dataclass(frozen=True)
class _Interruptible:
    """An encoder that a signal ends at once: what was encoded before is kept all the same."""

    encoder: EncoderWhenNeeded
    stopping: Stopping

    def encode_video(self, frames: Tensor) -> Tensor:
        """As the encoder."""
        with self.stopping.at_once():
            return self.encoder.encode_video(frames)

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        """As the encoder."""
        with self.stopping.at_once():
            return self.encoder.encode_caption(captions)

    def encode_columns(self, frames: Tensor | None, caption: str) -> Mapping[str, Tensor]:
        """As the encoder."""
        with self.stopping.at_once():
            return self.encoder.encode_columns(frames, caption)

    def encode_pictures(self, pictures: Sequence[Tensor], size_FHW: tuple[int, int, int]) -> Mapping[str, Tensor]:
        """As the encoder."""
        with self.stopping.at_once():
            return self.encoder.encode_pictures(pictures, size_FHW)

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """As the encoder."""
        with self.stopping.at_once():
            return self.encoder.count_tokens(captions)


@dataclass(frozen=True)
class _Listener:
    """Shows each video or caption that is done, and leaves after it where that is asked for."""

    progress: EncodeProgress
    stopping: Stopping

    def __call__(self, fates: Sequence[Fate]) -> None:
        """One more is done."""
        self.progress(fates)
        self.stopping.check()


def carry_out(request: EncodeRequest) -> None:
    """Encode, and print what became of the clips. What can be refused is refused before the encoders are loaded."""
    shard = Shard.of_process(os.environ) if request.shard is None else Shard.parse(request.shard)
    model = chosen_model(discover(), request.family, request.model, request.text_length)
    facts = model.facts
    folder = EncodingFolder(request.output, shard)
    with waiting(f"looking at {request.source}") as say:
        work = _Work.of(request, facts)
        say("hashing the encoders")
        texts_alone = request.captions_only and not facts.pictures
        keys = encoder_keys(facts, without=facts.autoencoder if texts_alone else "")
        origin = Origin(
            model.spec.name, request.model, keys.whole, request.settings(facts), facts.text_length, keys.parts
        )
        folder.check(origin, work.names(), overwrite=request.overwrite)
    console = terminal.console()
    with Stopping() as stopping, stopping.held("finishing what is encoded"), folder.claimed():
        try:
            with encode_progress(console, work.total(shard)) as progress:
                encoder = EncoderWhenNeeded(facts, lambda: progress.shown("loading the encoders", model.load))
                listener = _Listener(progress, stopping)
                encoding = Encoding(_Interruptible(encoder, stopping), facts, DTYPES[request.dtype], origin, listener)
                fates = work.encode(folder, encoding)
        except KeyboardInterrupt as error:
            number = stopping.behind(error)
            if number in (None, signal.SIGINT):
                line(console, f"stopped; {KEPT}")
                raise
            assert number is not None
            raise StoppedError(f"{number.name} came; {KEPT}", number) from None
        whole = folder.finish(fates)
    for each in summary_lines(fates, request.output, shard, whole):
        line(console, each)


def summary_lines(fates: Sequence[Fate], output: Path, shard: Shard, whole: bool) -> list[str]:
    """What became of the clips, for a person: how many, what was changed how often, and which were skipped why."""
    skipped = [fate for fate in fates if not fate.encoded]
    kept = sum(fate.kept for fate in fates)
    changes = Counter(_kind_of(change) for fate in fates if fate.encoded for change in fate.changes)
    words = "" if not kept else f" ({kept} of them before)"
    share = "" if shard.count == 1 else f", shard {shard.number} of {shard.count}"
    lines = [f"encoded {len(fates) - len(skipped)} of {len(fates)}{words} into {output}{share}"]
    lines += [f"  {count} × {change}" for change, count in changes.most_common(SKIPPED_SHOWN)]
    lines += [f"skipped {fate.name}: {fate.reason}" for fate in skipped[:SKIPPED_SHOWN]]
    if len(skipped) > SKIPPED_SHOWN:
        lines.append(f"and {len(skipped) - SKIPPED_SHOWN} more, see {output / REPORT}")
    shapes = Counter(fate.latent for fate in fates if fate.latent)
    if len(shapes) > 1:
        listed = ", ".join(f"{list(shape)} × {count}" for shape, count in shapes.most_common(SKIPPED_SHOWN))
        lines.append(f"latents [C, T, H, W], each shape a bucket of its own: {listed}")
    if not whole:
        lines.append(f"{output} appears when the other shards are done")
    return lines


def _kind_of(change: str) -> str:
    """A change without what is each clip's own: where it was cut out, and what stands in parentheses at the end."""
    return re.sub(r" from [\d.e+-]+ s on$| \([^()]*\)$", "", change)
