"""What the distances of the metric `shapes` say of sets that are right: real clips against other real clips, by the number of clips.

Prints a column for each size of set, the mean ± standard deviation over sets of different clips. A minute on one CPU thread.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping

import torch

from distill_core.protocols import SampledVideo
from distill_metric_shapes.captions import SMALL
from distill_metric_shapes.config import ShapesOptions
from distill_metric_shapes.metric import ShapesMetric
from distill_metric_shapes.world import make_clip

METRIC = ShapesMetric(ShapesOptions(least_clips=6))
FIGURES = ("energy_distance", "coverage", "spread")
SEED = 77
"""Neither the recipe's, nor that of the metric's own real clips."""


def of_clips(first: int, count: int) -> Mapping[str, float]:
    """The figures of one set of real clips, of every caption alike."""
    clips = (make_clip(SMALL, SEED, index, "include") for index in range(first, first + count))
    return METRIC.measure([SampledVideo(clip.caption, 0, torch.from_numpy(clip.frames_FHW3), 0) for clip in clips])


def main() -> None:
    """Print the table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[8, 16, 24, 48, 84, 144, 288], help="sizes of sets")
    parser.add_argument("--sets", type=int, default=6, help="sets of each size")
    arguments = parser.parse_args()
    found = {count: [of_clips(number * count, count) for number in range(arguments.sets)] for count in arguments.clips}
    print(f"| clips | {' | '.join(map(str, found))} |\n|{'---|' * (len(found) + 1)}")
    for name in FIGURES:
        columns = [[each[name] for each in sets] for sets in found.values()]
        cells = [f"{statistics.mean(column):.2f} ± {statistics.pstdev(column):.2f}" for column in columns]
        print(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
