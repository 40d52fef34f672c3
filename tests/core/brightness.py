"""A metric of the tests' own: the mean brightness of the frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill_core.errors import DataError
from distill_core.plugins.specs import MetricSpec, Options
from distill_core.protocols import SampledVideo


class BrightnessOptions(Options):
    """What it refuses, and when it breaks."""

    tallest: int = 1000
    """Rows of pixels that it can measure."""
    broken: bool = False
    """Whether measuring raises."""


class Brightness:
    """The metric."""

    def __init__(self, options: BrightnessOptions) -> None:
        self.options = options

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        if shape_FHW[1] > self.options.tallest:
            raise DataError(f"{shape_FHW[1]} rows are too many for {len(prompts)} prompts")

    def measure(self, videos: Sequence[SampledVideo]) -> Mapping[str, float]:
        if self.options.broken:
            raise ZeroDivisionError("nothing to divide")
        return {"mean": sum(float(video.frames.float().mean()) for video in videos) / len(videos), "clips": len(videos)}


BRIGHTNESS = MetricSpec(
    "brightness", "mean of the frames", BrightnessOptions, "tests.core.brightness:Brightness", headline=("mean",)
)
