"""Figures of a set of videos: how many show their captions, how varied they are, and how far they are from another set.

The judge of one video is `verdict.py`, the distances between sets are `distances.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from distill_core.errors import DataError
from distill_metric_shapes.captions import Setting
from distill_metric_shapes.distances import Spreads, coverage, energy_distance, spreads
from distill_metric_shapes.outlines import Array
from distill_metric_shapes.verdict import RESOLUTION_D, Verdict, features, judge
from distill_metric_shapes.world import Frames

NEIGHBOURS = 5


@dataclass(frozen=True)
class Sample:
    """A measured set of videos: one verdict each, and their features_ND."""

    verdicts: tuple[Verdict, ...]
    features_ND: Array


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] of the videos of a set that are right, in all and in each respect, and the mean fit of the shape."""

    clips: int
    all: float
    colour: float
    shape: float
    motion: float
    size: float
    iou: float


@dataclass(frozen=True)
class Comparison:
    """A set against a reference set: see `distances.py`; spreads are divided by the reference's."""

    energy_distance: float
    coverage: float
    spreads: Spreads


def measure(clips: Iterable[tuple[Frames, str]], setting: Setting) -> Sample:
    """Judge every video against its caption and take its features.

    Raises:
        DataError: there is none, or a caption is outside the grammar.
    """
    pairs = [(judge(frames, caption, setting), features(frames, setting)) for frames, caption in clips]
    if not pairs:
        raise DataError("there are no clips to judge; draw some with: python examples/shapes/draw.py --output DIR")
    verdicts, rows = zip(*pairs, strict=True)
    return Sample(verdicts=verdicts, features_ND=np.stack(rows))


def accuracy(sample: Sample) -> Accuracy:
    """The shares that are right."""
    of = sample.verdicts
    return Accuracy(
        clips=len(of),
        all=float(np.mean([verdict.right for verdict in of])),
        colour=float(np.mean([verdict.colour for verdict in of])),
        shape=float(np.mean([verdict.shape for verdict in of])),
        motion=float(np.mean([verdict.motion for verdict in of])),
        size=float(np.mean([verdict.size for verdict in of])),
        iou=float(np.mean([verdict.iou for verdict in of])),
    )


def compare(sample: Sample, reference: Sample) -> Comparison:
    """Hold one set against another.

    Raises:
        DataError: the reference is too small for a coverage, or does not vary.
    """
    own, other = spreads(sample.verdicts), spreads(reference.verdicts)
    if len(reference.verdicts) <= NEIGHBOURS or min(dataclasses.astuple(other)) <= 0.0:
        raise DataError(f"the reference needs more than {NEIGHBOURS} clips, and not all alike; draw more of them")
    return Comparison(
        energy_distance=energy_distance(sample.features_ND, reference.features_ND, RESOLUTION_D),
        coverage=coverage(sample.features_ND, reference.features_ND, NEIGHBOURS, RESOLUTION_D),
        spreads=Spreads(size=own.size / other.size, place=own.place / other.place, speed=own.speed / other.speed),
    )
