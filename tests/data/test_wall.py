"""distill_core.data.encoding.wall: whatever goes wrong with one clip is that clip's reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_core.data.encoding.wall import Wall
from distill_core.errors import DataError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DataError("it is short"), "it is short"),
        (DataError("a.mp4 cannot be read as a video"), "cannot be read as a video"),
        (DataError("ma\udcf1ana.mp4 is short"), "ma\\udcf1ana.mp4 is short"),
        (FileNotFoundError(2, "No such file"), "it cannot be read: No such file"),
        (
            MemoryError(),
            "it needs more memory than there is; ask for fewer frames with --num-frames, or for a smaller size",
        ),
        (ValueError("31 is not a valid Type"), "it cannot be looked at: ValueError: 31 is not a valid Type"),
    ],
)
def test_an_error_becomes_a_reason(error: Exception, reason: str) -> None:
    with Wall(Path("a.mp4")) as wall:
        raise error
    assert wall.reason == reason


def test_what_comes_to_its_end_has_no_reason() -> None:
    with Wall(Path("a.mp4")) as wall:
        pass
    assert wall.reason == ""


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_what_is_no_error_passes(interruption: type[BaseException]) -> None:
    with pytest.raises(interruption), Wall(Path("a.mp4")):
        raise interruption
