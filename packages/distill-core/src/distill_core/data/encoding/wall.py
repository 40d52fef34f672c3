"""A wall around one clip: what goes wrong inside becomes the reason why it is skipped, and the others are encoded."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from distill_core.errors import DataError
from distill_core.memory_full import ran_out


class Wall:
    """Inside ``with Wall(path) as wall``, an error ends the block and no more: ``wall.reason`` says what it was.

    What is no error, such as Ctrl-C, passes. A reason does not begin with the path: it stands beside the clip's name.

    Attributes:
        reason: why the block did not come to its end, in words; "" if it did.
    """

    def __init__(self, path: Path) -> None:
        self.reason = ""
        self._path = path

    def __enter__(self) -> Self:
        """Nothing has gone wrong yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Keep the reason of an error."""
        if not isinstance(error, Exception):
            return False
        self.reason = printable(_reason(error).removeprefix(f"{self._path} "))
        return True


def printable(text: str) -> str:
    """A text that can be written as UTF-8: halves of surrogate pairs, as names that are no UTF-8 hold them, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _reason(error: Exception) -> str:
    """An error in words; what no one foresaw with its kind."""
    if isinstance(error, DataError):
        return str(error)
    if ran_out(error) is not None:
        return "it needs more memory than there is; ask for fewer frames with --num-frames, or for a smaller size"
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be read: {error.strerror}"
    return f"it cannot be looked at: {type(error).__name__}: {error}"
