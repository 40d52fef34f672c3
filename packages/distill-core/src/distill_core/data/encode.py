"""Videos and captions to training data: each clip through a model's encoders into parquet, its fate into a report.

No clip is dropped without a reason on record. Knows no family: whatever has the two encoding methods will do.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from distill_core.data.captions import CaptionEntry
from distill_core.data.clips import Clip, ClipRules, frame_size, load_clip
from distill_core.data.columns import T2V_SCHEMA, TEXT_ONLY_SCHEMA, CaptionRecord, ClipRecord
from distill_core.data.folder import REPORT, published
from distill_core.data.sources import Source
from distill_core.data.tensors import is_finite
from distill_core.data.writer import ParquetWriter
from distill_core.errors import DataError
from distill_core.plugins.specs import ModelFacts

CAPTIONS_AT_ONCE = 16


class Encoder(Protocol):
    """The part of a :class:`distill_core.protocols.ModelPlugin` that encodes."""

    def encode_video(self, frames: Tensor) -> Tensor:
        """uint8 frames [F, H, W, 3] as one raw latent [C, T, H, W], float32 on the CPU."""
        ...

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        """Captions as float32 tensors [L, D] on the CPU, trimmed to their own number of tokens."""
        ...


@dataclass(frozen=True)
class Fate:
    """What became of one clip or caption: a line of the report.

    Attributes:
        name: the clip, or the line of the captions file.
        encoded: whether it is part of the data set.
        reason: why not, or "".
        changes: what was done to it first, in words.
        pixels: [F, H, W] of what was encoded.
        latent: [C, T, H, W].
        text: [L, D].
    """

    name: str
    encoded: bool
    reason: str = ""
    changes: tuple[str, ...] = ()
    pixels: tuple[int, ...] = ()
    latent: tuple[int, ...] = ()
    text: tuple[int, ...] = ()


Listener = Callable[[Fate], None]


@dataclass(frozen=True)
class Encoding:
    """What encodes, and what its results are stored as.

    Attributes:
        encoder: the encoders of a model.
        facts: the same model's facts, which latents must fit.
        dtype: the dtype that tensors are stored in.
        listener: hears the fate of each clip or caption as it is known.
    """

    encoder: Encoder
    facts: ModelFacts
    dtype: torch.dtype
    listener: Listener


def encode_videos(sources: Sequence[Source], output: Path, encoding: Encoding, rules: ClipRules) -> tuple[Fate, ...]:
    """Encode every source into a T2V data set at ``output``, which appears when all is done.

    Raises DataError if the clips would have several sizes, or if not one could be encoded.
    """
    if rules.size is None:
        _check_one_size(sources, rules)
    with published(output) as folder:
        with ParquetWriter(folder, T2V_SCHEMA) as writer:
            fates = _heard((_encode_clip(source, encoding, rules, writer) for source in sources), encoding.listener)
        _write_report(folder, fates)
    return fates


def encode_captions(entries: Sequence[CaptionEntry], output: Path, encoding: Encoding) -> tuple[Fate, ...]:
    """Encode captions into a text-only data set at ``output``, which appears when all is done.

    Raises DataError if not one could be encoded.
    """
    with published(output) as folder:
        with ParquetWriter(folder, TEXT_ONLY_SCHEMA) as writer:
            fates = _heard(_encode_texts(entries, encoding, writer), encoding.listener)
        _write_report(folder, fates)
    return fates


def _heard(fates: Iterator[Fate], listener: Listener) -> tuple[Fate, ...]:
    """All fates, each told to the listener as it comes."""
    heard = []
    for fate in fates:
        listener(fate)
        heard.append(fate)
    return tuple(heard)


def _encode_clip(source: Source, encoding: Encoding, rules: ClipRules, writer: ParquetWriter) -> Fate:
    """Encode one clip and add it to the data, unless something about it forbids that."""
    if source.refusal:
        return Fate(source.name, encoded=False, reason=source.refusal)
    try:
        clip = load_clip(source.path, rules)
        record = _clip_record(source, clip, encoding)
    except DataError as error:
        return Fate(source.name, encoded=False, reason=str(error))
    writer.add(record)
    return Fate(
        source.name,
        encoded=True,
        changes=clip.changes,
        pixels=tuple(clip.frames.shape[:3]),
        latent=tuple(record.latent_CTHW.shape),
        text=tuple(record.text_LD.shape),
    )


def _clip_record(source: Source, clip: Clip, encoding: Encoding) -> ClipRecord:
    """The row of one clip. Raises DataError if its latent does not fit the model or cannot be stored."""
    frames, height, width, _ = clip.frames.shape
    latent_CTHW = _stored(encoding.encoder.encode_video(clip.frames), encoding.dtype, "latent")
    if misfit := encoding.facts.misfit(tuple(latent_CTHW.shape)):
        raise DataError(f"its latents do not fit the model: {misfit}")
    text_LD = _stored(encoding.encoder.encode_caption([source.caption])[0], encoding.dtype, "text embedding")
    return ClipRecord(
        id=source.name,
        caption=source.caption,
        text_LD=text_LD,
        latent_CTHW=latent_CTHW,
        file_name=source.name,
        width=width,
        height=height,
        num_frames=frames,
        fps=clip.fps,
    )


def _encode_texts(entries: Sequence[CaptionEntry], encoding: Encoding, writer: ParquetWriter) -> Iterator[Fate]:
    """Encode captions, a few at a time, and add them to the data."""
    pending = iter(entries)
    while few := list(islice(pending, CAPTIONS_AT_ONCE)):
        captions = [entry.caption for entry in few if entry.caption]
        texts = iter(encoding.encoder.encode_caption(captions) if captions else ())
        for entry in few:
            name = f"line {entry.line}"
            if not entry.caption:
                yield Fate(name, encoded=False, reason="it has no caption")
                continue
            try:
                text_LD = _stored(next(texts), encoding.dtype, "text embedding")
            except DataError as error:
                yield Fate(name, encoded=False, reason=str(error))
                continue
            writer.add(CaptionRecord(f"caption-{entry.line:06d}", entry.caption, text_LD))
            yield Fate(name, encoded=True, text=tuple(text_LD.shape))


def _stored(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """The tensor in the dtype that it is stored in. Raises DataError if that leaves a value that is not finite."""
    stored = tensor.to(dtype)
    if not is_finite(stored):
        raise DataError(f"its {name} is not finite in {str(dtype).removeprefix('torch.')}; try another --dtype")
    return stored


def _check_one_size(sources: Sequence[Source], rules: ClipRules) -> None:
    """Raise DataError if the clips differ in size: better now than after they are all encoded."""
    sizes: Counter[tuple[int, int]] = Counter()
    for source in sources:
        if not source.refusal:
            with suppress(DataError):  # it is reported, with this reason, when its turn comes
                sizes[rules.size_of(*frame_size(source.path))] += 1
    if len(sizes) > 1:
        counts = ", ".join(f"{width}x{height} ({clips} clips)" for (height, width), clips in sizes.most_common(8))
        raise DataError(f"the videos have {len(sizes)} sizes: {counts}; training takes one: set --height and --width")


def _write_report(folder: Path, fates: Sequence[Fate]) -> None:
    """Write each fate as a line of JSON. Raises DataError if nothing was encoded."""
    if not any(fate.encoded for fate in fates):
        reasons = Counter(fate.reason for fate in fates).most_common(5)
        listed = "; ".join(f"{count} × {reason}" for reason, count in reasons)
        raise DataError(f"nothing could be encoded of {len(fates)}: {listed}")
    lines = (json.dumps(asdict(fate), ensure_ascii=False) for fate in fates)
    (folder / REPORT).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
