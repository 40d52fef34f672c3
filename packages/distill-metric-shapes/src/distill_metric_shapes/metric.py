"""The judge as a metric of any run: accuracy against the captions, and distances to real clips of the same captions.

Distances depend on how many clips there are: 84 cannot cover 288, however good they are. So a set is held against as many real clips as it
has, and a small set is not measured so at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from distill_core.errors import DataError
from distill_core.protocols import SampledVideo
from distill_metric_shapes.captions import SETTINGS, Setting, parse
from distill_metric_shapes.config import ShapesOptions
from distill_metric_shapes.measure import Sample, accuracy, compare, measure
from distill_metric_shapes.world import Frames, draw_clip


def check_clips(prompts: Sequence[str], shape_FHW: tuple[int, int, int], setting: Setting) -> None:
    """Raises DataError for a caption outside the setting's grammar, or clips of another size than its own."""
    expected = (setting.frames, setting.size, setting.size)
    if shape_FHW != expected:
        raise DataError(f"the {setting.name} shapes world has {_size(expected)}, this run makes {_size(shape_FHW)}")
    for prompt in prompts:
        parse(prompt, setting)


class ShapesMetric:
    """The :class:`distill_core.protocols.Metric`."""

    def __init__(self, options: ShapesOptions) -> None:
        self.options = options
        self.setting = SETTINGS[options.setting]

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        """Raises DataError for a caption outside the grammar, or videos of another size than the setting's."""
        check_clips(prompts, shape_FHW, self.setting)

    def measure(self, videos: Sequence[SampledVideo]) -> Mapping[str, float]:
        """Shares in [0, 1] that are right. From ``least_clips`` videos on, how far they are from real clips: see :meth:`_distances`."""
        sample = measure(((video.frames.numpy(), video.prompt) for video in videos), self.setting)
        right = accuracy(sample)
        held_out = [
            verdict.right for verdict in sample.verdicts if any(thing.is_held_out() for thing in verdict.things)
        ]
        return {
            "clips": right.clips,
            "all_correct": right.all,
            **({"held_out_correct": float(np.mean(held_out))} if held_out else {}),
            "colour": right.colour,
            "shape": right.shape,
            "motion": right.motion,
            "size": right.size,
            "shape_iou": right.iou,
            **(self._distances(sample, videos) if right.clips >= self.options.least_clips else {}),
        }

    def _distances(self, sample: Sample, videos: Sequence[SampledVideo]) -> dict[str, float]:
        """Energy distance, coverage, and spreads as shares of the real clips' (1 is as varied as they), with the least of them."""
        prompts = tuple(dict.fromkeys(video.prompt for video in videos))
        far = compare(sample, reference(self.setting, prompts, len(videos), self.options.reference_seed))
        spreads = dataclasses.asdict(far.spreads)
        return {
            "energy_distance": far.energy_distance,
            "coverage": far.coverage,
            "spread": min(spreads.values()),
            **{f"spread_{name}": value for name, value in spreads.items()},
        }


@cache
def reference(setting: Setting, prompts: tuple[str, ...], clips: int, seed: int) -> Sample:
    """Real clips of these captions in turn, measured."""
    scenes = [parse(prompt, setting) for prompt in prompts]

    def drawn(index: int) -> tuple[Frames, str]:
        """Clip number ``index``."""
        clip = draw_clip(scenes[index % len(scenes)], setting, np.random.default_rng([seed, index]))
        return clip.frames_FHW3, clip.caption

    return measure(map(drawn, range(clips)), setting)


def _size(shape_FHW: tuple[int, int, int]) -> str:
    frames, height, width = shape_FHW
    return f"{frames} frames of {width}×{height}"
