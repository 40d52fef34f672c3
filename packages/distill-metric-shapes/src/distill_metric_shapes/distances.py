"""How far two sets of videos are apart in the judge's features, and how varied one set is.

Accuracy alone does not see a set that has collapsed onto a few clips that are all right; these do. Pure functions of numbers.

Shapes in names: N and M videos, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill_metric_shapes.outlines import Array
from distill_metric_shapes.verdict import Verdict
from distill_metric_shapes.world import DIRECTIONS

LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Spreads:
    """Standard deviations over a set, in pixels or square pixels.

    Attributes:
        size: of a thing's mean area.
        place: of its position across its direction of motion.
        speed: of its displacement along that direction, over the whole clip.
    """

    size: float
    place: float
    speed: float


def energy_distance(sample_ND: Array, reference_MD: Array, least_D: Array | float = LEAST_DEVIATION) -> float:
    """2·E|x − y| − E|x − x′| − E|y − y′| in features standardised by the reference (Székely and Rizzo, 2013).

    ``least_D``: the least that a feature is divided by, for those that hardly vary.

    The expectations run over all pairs, a video with itself included: never negative, 0 for equal sets, and larger by about
    E|x − y|·(1/N + 1/M) for two samples of one distribution. Compare values at equal N and M only.
    """
    centre_D, scale_D = _standard(reference_MD, least_D)
    sample_ND, reference_MD = (sample_ND - centre_D) / scale_D, (reference_MD - centre_D) / scale_D
    across = _distances(sample_ND, reference_MD).mean()
    within = _distances(sample_ND, sample_ND).mean() + _distances(reference_MD, reference_MD).mean()
    return max(0.0, float(2.0 * across - within))


def coverage(
    sample_ND: Array, reference_MD: Array, neighbours: int = 5, least_D: Array | float = LEAST_DEVIATION
) -> float:
    """The share of reference videos with a sample inside the ball that reaches their ``neighbours``-th nearest reference.

    Naeem et al. 2020 (arXiv 2002.09797), equation 10, in features standardised by the reference. Needs M > ``neighbours``.
    """
    assert len(reference_MD) > neighbours
    centre_D, scale_D = _standard(reference_MD, least_D)
    sample_ND, reference_MD = (sample_ND - centre_D) / scale_D, (reference_MD - centre_D) / scale_D
    reach_M = np.sort(_distances(reference_MD, reference_MD), axis=1)[:, neighbours]  # column 0 is the video itself
    return float((_distances(reference_MD, sample_ND).min(axis=1) <= reach_M).mean())


def spreads(verdicts: Sequence[Verdict]) -> Spreads:
    """How varied the named things of a set are; place and speed are of those whose caption gives a direction.

    A kind of which there are fewer than two has spread 0.
    """
    sizes, places, speeds = [], [], []
    for verdict in verdicts:
        for seen, thing in zip(verdict.seen, verdict.things, strict=True):
            sizes.append(float(seen.area_F.mean()))
            if thing.motion in DIRECTIONS:
                along = np.array(DIRECTIONS[thing.motion])
                places.append(float(seen.centre_F2.mean(axis=0) @ np.abs(along[::-1])))
                speeds.append(float((seen.centre_F2[-1] - seen.centre_F2[0]) @ along))
    return Spreads(size=_deviation(sizes), place=_deviation(places), speed=_deviation(speeds))


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _standard(reference_MD: Array, least_D: Array | float) -> tuple[Array, Array]:
    return reference_MD.mean(axis=0), np.maximum(reference_MD.std(axis=0), least_D)


def _distances(x_ND: Array, y_MD: Array) -> Array:
    """Euclidean distances [N, M], one row at a time to keep memory small."""
    return np.stack([np.linalg.norm(y_MD - x_D, axis=1) for x_D in x_ND])
