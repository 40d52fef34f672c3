"""distill_core.data.encoding.read_ahead: the same items, made while others are worked on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from distill_core.data.encoding.read_ahead import read_ahead


def test_items_come_in_their_order_and_all_of_them() -> None:
    for count in (1, 2, 5):
        assert list(read_ahead(iter(range(7)), count)) == list(range(7))
        assert list(read_ahead(iter(()), count)) == []


def test_so_many_items_are_made_ahead_and_no_more() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    ahead = read_ahead(items(), 2)
    assert next(ahead) == 0
    assert third.wait(timeout=10)  # two beyond the one that was taken
    ahead.close()
    assert made == [0, 1, 2]


def test_what_making_an_item_raises_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    ahead = read_ahead(items(), 3)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_the_thread_ends_with_the_items() -> None:
    before = set(threading.enumerate())
    assert list(read_ahead(iter(range(3)), 1)) == [0, 1, 2]
    started = set(threading.enumerate()) - before
    assert not [thread for thread in started if thread.name.startswith("distill-read-ahead")]
