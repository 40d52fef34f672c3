"""What tests of clips share: the tiny model's rules, the only clip of a video, and which frames a clip shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_sets import FACTS
from torch import Tensor

from distill_core.data.encoding.clips import Clip, cut_clips
from distill_core.data.encoding.rules import ClipRules, clip_rules


def rules(**options: Any) -> ClipRules:
    """Rules for the tiny model: 4 frames per latent frame, sizes in multiples of 16."""
    return clip_rules(FACTS, **options)


def load_clip(path: Path, how: ClipRules) -> Clip:
    """The only clip of a video."""
    (clip,) = cut_clips(path, how)
    return clip


def levels(frames: Tensor) -> list[int]:
    """The number of the original frame that each frame shows."""
    return [round(float(frame.float().mean()) / 10) for frame in frames]
