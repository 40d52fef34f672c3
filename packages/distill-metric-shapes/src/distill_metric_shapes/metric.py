"""The judge as a metric of any run: accuracy against the captions, and distances to real clips of the same captions."""

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


class ShapesMetric:
    """The :class:`distill_core.protocols.Metric`."""

    def __init__(self, options: ShapesOptions) -> None:
        self.options = options
        self.setting = SETTINGS[options.setting]

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        """Raises DataError for a caption outside the grammar, or videos of another size than the setting's."""
        expected = (self.setting.frames, self.setting.size, self.setting.size)
        if shape_FHW != expected:
            raise DataError(
                f"the {self.setting.name} shapes world has {_size(expected)}, this run makes {_size(shape_FHW)}"
            )
        for prompt in prompts:
            parse(prompt, self.setting)

    def measure(self, videos: Sequence[SampledVideo]) -> Mapping[str, float]:
        """Shares in [0, 1] that are right; energy distance and coverage; spreads as shares of the real clips' (1 is as varied as they)."""
        sample = measure(((video.frames.numpy(), video.prompt) for video in videos), self.setting)
        right = accuracy(sample)
        prompts = tuple(dict.fromkeys(video.prompt for video in videos))
        real = reference(self.setting, prompts, self.options.reference_clips, self.options.reference_seed)
        far = compare(sample, real)
        spreads = dataclasses.asdict(far.spreads)
        held_out = [
            verdict.right for verdict in sample.verdicts if any(thing.is_held_out() for thing in verdict.things)
        ]
        return {
            "all_correct": right.all,
            **({"held_out_correct": float(np.mean(held_out))} if held_out else {}),
            "colour": right.colour,
            "shape": right.shape,
            "motion": right.motion,
            "size": right.size,
            "shape_iou": right.iou,
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
