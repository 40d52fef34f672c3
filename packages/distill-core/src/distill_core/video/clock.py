"""One clock for all frames of a file, whatever its time stamps do: it starts at 0 and only goes forward. Knows no pixels."""

from __future__ import annotations

from dataclasses import dataclass

from distill_core.video.film import Changes

DEFAULT_DURATION = 1 / 25
"""Seconds of a frame of which nothing says how long it is shown."""


@dataclass
class Clock:
    """Places frames one after another.

    A stamped frame is as far after the one before it as their stamps are apart. A frame without a stamp, and one whose stamp is not
    after that before it (two recordings in one file, a recorder that was reset), comes when the one before it has been shown; stamps
    go on to count from there.

    Attributes:
        changes: hears what was not as it should be.
        rate: frames per second, where frames do not say how long they are shown.
    """

    changes: Changes
    rate: float | None
    _time: float = 0.0
    _stamp: float | None = None
    _duration: float | None = None

    def place(self, number: int, stamp: float | None, duration: float | None) -> tuple[float, float]:
        """When the next frame is shown and for how long, in seconds, from what its file says of both."""
        if number:
            self._time += self._step(number, stamp)
        elif stamp is None:
            self._say_missing()
        self._stamp = stamp
        self._duration = duration or (1 / self.rate if self.rate else self._duration)
        return self._time, self._duration or DEFAULT_DURATION

    def _step(self, number: int, stamp: float | None) -> float:
        """How long after the last frame the next one comes."""
        if stamp is not None and self._stamp is not None:
            step = stamp - self._stamp
            if step > 0:
                if self._duration is None:
                    self._duration = step
                return step
            self.changes.say(f"its clock goes back: what comes then is put after what was (at frame {number})")
        else:
            self._say_missing()
        return self._duration or DEFAULT_DURATION

    def _say_missing(self) -> None:
        """A frame has no stamp."""
        self.changes.say("frames without a time stamp follow those before them at the stated rate")
