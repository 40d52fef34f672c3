"""Drift: a clip's last frames held against its first. It needs no captions and no model, and takes clips of any length.

F frames, H W rows and columns, 3 = RGB in [0, 1], 2 = (x right, y down) as shares of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distill_core.errors import DataError
from distill_core.protocols import SampledVideo
from distill_metric_drift.config import DriftOptions

Array = npt.NDArray[np.float64]

LUMA_3 = np.array([0.2126, 0.7152, 0.0722])
"""Weights of RGB in brightness (ITU-R BT.709)."""
LEAST = 1e-3
"""Below so much contrast or saturation there is nothing that could be a ratio's base."""


@dataclass(frozen=True)
class Look:
    """What some frames look like.

    Attributes:
        colour_3: their mean colour.
        saturation: mean of largest less smallest channel.
        contrast: standard deviation of brightness, the mean over frames.
        place_2: the centroid of what is unlike a frame's median colour; the middle where all is alike.
    """

    colour_3: Array
    saturation: float
    contrast: float
    place_2: Array


def look(frames_FHW3: Array) -> Look:
    """Measure frames in [0, 1]."""
    luma_FHW = frames_FHW3 @ LUMA_3
    ground_F113 = np.median(frames_FHW3, axis=(1, 2), keepdims=True)
    weight_HW = np.abs(frames_FHW3 - ground_F113).sum(axis=-1).mean(axis=0)
    height, width = weight_HW.shape
    total = weight_HW.sum()
    if total < LEAST:
        place_2 = np.array([0.5, 0.5])
    else:
        columns, rows = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
        place_2 = np.array([(weight_HW.sum(axis=0) * columns).sum(), (weight_HW.sum(axis=1) * rows).sum()]) / total
    return Look(
        colour_3=frames_FHW3.mean(axis=(0, 1, 2)),
        saturation=float((frames_FHW3.max(axis=-1) - frames_FHW3.min(axis=-1)).mean()),
        contrast=float(luma_FHW.std(axis=(1, 2)).mean()),
        place_2=place_2,
    )


class DriftMetric:
    """The :class:`distill_core.protocols.Metric`."""

    def __init__(self, options: DriftOptions) -> None:
        self.options = options

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        """Raises DataError for clips whose beginning would be their end."""
        frames, window = shape_FHW[0], self.options.window_frames
        if frames < 2 or (window is not None and 2 * window > frames):
            part = "quarter" if window is None else f"{window} frames"
            raise DataError(
                f"drift holds a clip's last {part} against as much of its beginning, and these have {frames} frames; make longer clips, or "
                f"set metrics.drift.window_frames to {max(1, frames // 2)} or less"
            )

    def measure(self, videos: Sequence[SampledVideo]) -> Mapping[str, float]:
        """Means over clips.

        ``colour`` is how far the mean colour is, 0 without drift. ``contrast`` and ``saturation`` are the end's as a share of the
        beginning's, over the clips that have any: 1 without drift, more where it burns in. ``place`` is how far the thing has moved, in
        shares of the frame; ``frames`` how long the clips are.
        """
        pairs = [self._ends(video.frames.numpy() / 255.0) for video in videos]
        colours = [float(np.abs(end.colour_3 - begin.colour_3).mean()) for begin, end in pairs]
        places = [float(np.linalg.norm(end.place_2 - begin.place_2)) for begin, end in pairs]
        contrasts = [end.contrast / begin.contrast for begin, end in pairs if begin.contrast > LEAST]
        saturations = [end.saturation / begin.saturation for begin, end in pairs if begin.saturation > LEAST]
        ratios = {"contrast": contrasts, "saturation": saturations}
        return {
            "colour": float(np.mean(colours)),
            **{name: float(np.mean(values)) for name, values in ratios.items() if values},
            "place": float(np.mean(places)),
            "frames": float(np.mean([len(video.frames) for video in videos])),
        }

    def _ends(self, frames_FHW3: Array) -> tuple[Look, Look]:
        count = len(frames_FHW3)
        window = max(1, count // 4) if self.options.window_frames is None else self.options.window_frames
        return look(frames_FHW3[:window]), look(frames_FHW3[count - window :])
