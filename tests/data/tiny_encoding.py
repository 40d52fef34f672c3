"""What the tests of encoding share: an encoder without weights, the command's work as functions, videos to encode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from tests.data.data_sets import FACTS
from torch import Tensor

from distill_core.data.encoding.captions import read_captions
from distill_core.data.encoding.encode_captions import caption_id, encode_captions
from distill_core.data.encoding.encode_videos import encode_videos
from distill_core.data.encoding.encoder import Encoding
from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.report import Fate
from distill_core.data.encoding.rules import clip_rules
from distill_core.data.encoding.shard import Shard
from distill_core.data.encoding.sources import find_sources
from distill_core.data.reading.origin import Origin
from distill_core.video.writing import write_mp4


class PixelEncoder:
    """Encodes without weights: latents are means of pixels, a text has one token a word."""

    def encode_video(self, frames: Tensor) -> Tensor:
        """Means of 8 × 8 pixels of every fourth frame, [3, T, H, W] in [0, 255]."""
        kept = frames[::4].float()
        return kept.unfold(1, 8, 8).unfold(2, 8, 8).mean(dim=(-1, -2)).permute(3, 0, 1, 2)

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        """[words, 5]: how long each word is."""
        return [torch.tensor([[float(len(word))] * 5 for word in caption.split()]) for caption in captions]

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """A token a word."""
        return [len(caption.split()) for caption in captions]


def encoding(heard: list[Fate] | None = None, encoder: Any = None, dtype: torch.dtype = torch.float32) -> Encoding:
    listener = (lambda _: None) if heard is None else heard.extend
    name = str(dtype).removeprefix("torch.")
    return Encoding(encoder or PixelEncoder(), FACTS, dtype, Origin("toy", "model", "e", {"dtype": name}), listener)


def encode_folder(
    folder: Path,
    output: Path,
    how: Encoding | None = None,
    *,
    shard: str = "1/1",
    overwrite: bool = False,
    **options: Any,
) -> tuple[Fate, ...]:
    """Encode a folder of videos as the command line does."""
    how = how or encoding()
    how = replace(how, origin=replace(how.origin, settings={**how.origin.settings, **options}))
    sources, target = find_sources(folder), EncodingFolder(output, Shard.parse(shard))
    target.check(how.origin, [source.name for source in sources], overwrite=overwrite)
    with target.claimed():
        fates = encode_videos(sources, target, how, clip_rules(FACTS, **options))
        target.finish(fates)
    return fates


def encode_lines(path: Path, output: Path, how: Encoding | None = None, shard: str = "1/1") -> tuple[Fate, ...]:
    """Encode a captions file as the command line does."""
    entries, how, target = read_captions(path), how or encoding(), EncodingFolder(output, Shard.parse(shard))
    target.check(how.origin, [caption_id(entry) for entry in entries], overwrite=False)
    with target.claimed():
        fates = encode_captions(entries, target, how)
        target.finish(fates)
    return fates


def rows(output: Path) -> dict[str, dict[str, Any]]:
    """The rows of a data set by their ids."""
    return {row["id"]: row for row in pq.read_table(output).to_pylist()}


def film(
    path: Path, frames: int = 9, height: int = 32, width: int = 32, fps: float = 16, caption: str = "a ball"
) -> Path:
    """Writes a grey video that grows lighter, and its caption beside it."""
    levels = (20 * torch.arange(frames)).clamp(max=255).to(torch.uint8).view(-1, 1, 1, 1)
    write_mp4(path, levels.expand(frames, height, width, 3), fps)
    if caption:
        path.with_suffix(".txt").write_text(caption)
    return path


def report(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "_report.jsonl").read_text().splitlines()]


class Counting(PixelEncoder):
    """Notes what it is asked to encode; is interrupted at the video number ``stop``."""

    def __init__(self, stop: int = -1) -> None:
        self.videos = 0
        self.captions: list[str] = []
        self.stop = stop

    def encode_video(self, frames: Tensor) -> Tensor:
        if self.videos == self.stop:
            raise KeyboardInterrupt
        self.videos += 1
        return super().encode_video(frames)

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        self.captions += captions
        return super().encode_caption(captions)


def write_videos(folder: Path) -> Path:
    """Clips of every fate."""
    film(folder / "fits.mp4", caption="a small red ball")
    film(folder / "large.mp4", frames=12, height=64, width=96)
    film(folder / "fast.mp4", frames=18, fps=32)
    film(folder / "short.mp4", frames=4)
    film(folder / "silent.mp4", caption="")
    (folder / "broken.mp4").write_bytes(b"not a video")
    (folder / "broken.txt").write_text("a caption")
    (folder / "captions.jsonl").write_text('{"video": "gone.mp4", "caption": "a lost ball"}\n')
    return folder
