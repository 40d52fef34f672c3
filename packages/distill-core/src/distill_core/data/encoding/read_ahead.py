"""The next items of an iterator while the last one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

ItemT = TypeVar("ItemT")


class _End:
    """What comes after the last item."""


_END: Final = _End()


def read_ahead(items: Iterator[ItemT], count: int) -> Generator[ItemT, None, None]:
    """The same items in their order, ``count`` of them made ahead by a thread; what making one raises is raised in its place."""
    with ThreadPoolExecutor(1, thread_name_prefix="distill-read-ahead") as thread:

        def after() -> ItemT | _End:
            """Make the next item; in the thread."""
            return next(items, _END)

        ahead = deque(thread.submit(after) for _ in range(count))
        try:
            while not isinstance(item := ahead.popleft().result(), _End):
                ahead.append(thread.submit(after))
                yield item
        finally:
            for future in ahead:
                future.cancel()
