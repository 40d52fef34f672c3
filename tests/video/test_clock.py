"""distill_core.video.clock: one clock, whatever time stamps do."""

from __future__ import annotations

import pytest

from distill_core.video.clock import Clock
from distill_core.video.film import Changes


def placed(
    stamps: list[float | None], rate: float | None = 10, duration: float | None = None
) -> tuple[list[float], list[str]]:
    """When frames of these stamps are shown, and what is said of them."""
    changes = Changes()
    clock = Clock(changes, rate)
    times = [clock.place(number, stamp, duration)[0] for number, stamp in enumerate(stamps)]
    return [pytest.approx(time) for time in times], list(changes)


MISSING = "frames without a time stamp follow those before them at the stated rate"


@pytest.mark.parametrize(
    ("stamps", "times", "said"),
    [
        ([5.0, 5.1, 5.5], [0, 0.1, 0.5], []),
        ([-0.2, -0.1, 0.3], [0, 0.1, 0.5], []),
        ([None, None, None], [0, 0.1, 0.2], [MISSING]),
        ([None, None, 0.0, 0.3], [0, 0.1, 0.2, 0.5], [MISSING]),
        ([0.0, 0.3, None, 0.4], [0, 0.3, 0.4, 0.5], [MISSING]),
        ([0.0, 0.3, 0.0, 0.2], [0, 0.3, 0.4, 0.6], ["its clock goes back: what comes then is put after what was (at frame 2)"]),
        ([0.0, 0.0], [0, 0.1], ["its clock goes back: what comes then is put after what was (at frame 1)"]),
    ],
)  # fmt: skip
def test_frames_are_placed_on_one_clock(stamps: list[float | None], times: list[float], said: list[str]) -> None:
    assert placed(stamps) == (times, said)


def test_a_frame_is_as_long_as_it_says_then_as_the_rate_says_then_as_the_first_was() -> None:
    assert placed([0.0, 0.2, 0.0], rate=10, duration=0.5)[0] == [0, 0.2, 0.7]
    assert placed([0.0, 0.2, 0.0], rate=10)[0] == [0, 0.2, 0.3]
    assert placed([0.0, 0.2, 0.0], rate=None)[0] == [0, 0.2, 0.4]
    assert placed([None, None], rate=None)[0] == [0, 0.04]
