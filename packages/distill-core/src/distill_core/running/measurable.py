"""Whether a metric or a reward can measure clips of some captions, and which of them, from where, it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distill_core.errors import DataError, DistillError
from distill_core.protocols.metric import Metric
from distill_core.protocols.reward import Reward


def refuse_unmeasurable(
    measure: Metric | Reward,
    captions: Sequence[str],
    shape_FHW: tuple[int, int, int],
    source_of: Callable[[str], str | None],
) -> None:
    """Raises what ``measure`` raises of the captions and the size; where one caption is at fault, with its source before.

    ``source_of``: where a caption comes from, e.g. ``clips.parquet:3``; None where nobody knows.
    """
    try:
        measure.check(captions, shape_FHW)
    except DistillError:
        measure.check((), shape_FHW)  # where the size is at fault, no caption is
        for caption in captions:
            try:
                measure.check((caption,), shape_FHW)
            except DistillError as error:
                source = source_of(caption)
                raise DataError(str(error) if source is None else f"{source}: {error}") from error
        raise
