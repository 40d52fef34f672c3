"""Whole numbers by shares: how many of a count each of several weights gets. Pure arithmetic, exact at every size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

_HALF = Fraction(1, 2)


def apportioned(count: int, weights: Sequence[Fraction]) -> list[int]:
    """``count`` ≥ 0 in whole parts, as many as there are weights > 0 and as large as they have it.

    No part is smaller for a larger count. For n weights each part is its exact share to within ⌈log2 n⌉ / 2: within one up to n = 4.
    """
    if len(weights) == 1:
        return [count]
    # Both halves grow with the count, as the first one's share of a count that grows by 1 grows by at most 1.
    middle = (len(weights) + 1) // 2
    share = sum(weights[:middle], Fraction(0)) / sum(weights, Fraction(0))
    first = (count * share + _HALF).__floor__()
    return [*apportioned(first, weights[:middle]), *apportioned(count - first, weights[middle:])]
