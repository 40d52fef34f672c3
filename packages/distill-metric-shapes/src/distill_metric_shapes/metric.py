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
from distill_metric_shapes.captions import SETTINGS, Setting, motion_alone, parse
from distill_metric_shapes.config import ShapesOptions
from distill_metric_shapes.measure import Sample, accuracy, compare, measure
from distill_metric_shapes.shown import is_kept, whole_caption
from distill_metric_shapes.world import Frames, draw_clip


def check_clips(prompts: Sequence[str], shape_FHW: tuple[int, int, int], setting: Setting) -> None:
    """Raises DataError for a caption outside the setting's grammar, or clips of another size than its own."""
    expected = (setting.frames, setting.size, setting.size)
    if shape_FHW != expected:
        raise DataError(f"the {setting.name} shapes world has {_size(expected)}, this run makes {_size(shape_FHW)}")
    for prompt in prompts:
        if motion_alone(prompt, setting) is None:
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
        told = [told_by(video, self.setting) for video in videos]
        sample = measure(
            ((video.frames.numpy(), caption) for video, caption in zip(videos, told, strict=True)), self.setting
        )
        right, kept = accuracy(sample), share_kept(videos, self.setting)
        held_out = [
            verdict.right for verdict in sample.verdicts if any(thing.is_held_out() for thing in verdict.things)
        ]
        return {
            "clips": right.clips,
            "all_correct": right.all,
            **({"held_out_correct": float(np.mean(held_out))} if held_out else {}),
            "colour": right.colour,
            "shape": right.shape,
            ("motion" if self.setting.frames > 1 else "place"): right.motion,
            "size": right.size,
            "shape_iou": right.iou,
            **({} if kept is None else {"picture_kept": kept}),
            **(
                self._distances(sample, told)
                if self.setting.frames > 1 and right.clips >= self.options.least_clips
                else {}
            ),
        }

    def _distances(self, sample: Sample, captions: Sequence[str]) -> dict[str, float]:
        """Energy distance, coverage, and spreads as shares of the real clips' (1 is as varied as they), with the least of them."""
        prompts = tuple(dict.fromkeys(captions))
        far = compare(sample, reference(self.setting, prompts, len(captions), self.options.reference_seed))
        spreads = dataclasses.asdict(far.spreads)
        return {
            "energy_distance": far.energy_distance,
            "coverage": far.coverage,
            "spread": min(spreads.values()),
            **{f"spread_{name}": value for name, value in spreads.items()},
        }


def told_by(video: SampledVideo, setting: Setting) -> str:
    """The caption of a video; of one that says a motion alone, with what the picture shows that the video should begin with."""
    motion = motion_alone(video.prompt, setting)
    if motion is None:
        return video.prompt
    if video.first_frame is None:
        raise DataError(
            f"{video.prompt!r} says a motion alone, and no picture says what of; name one, e.g. by validation.first_frames"
        )
    return whole_caption(video.first_frame.numpy(), motion, setting)


def share_kept(videos: Sequence[SampledVideo], setting: Setting) -> float | None:
    """The share of the videos of pictures that begin with theirs; None where there is no such video."""
    pairs = [(video.frames.numpy(), video.first_frame.numpy()) for video in videos if video.first_frame is not None]
    return float(np.mean([is_kept(frames, picture, setting) for frames, picture in pairs])) if pairs else None


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
