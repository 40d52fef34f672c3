"""What is in force around a call: for its length, and again when it is computed again."""

from __future__ import annotations

from contextvars import ContextVar

import pytest

from distill_core.surroundings import Surrounding, as_now

wears: Surrounding[str | None] = Surrounding(None)
asks: Surrounding[int] = Surrounding(0)
others: ContextVar[str] = ContextVar("others", default="nothing")


def now() -> tuple[str | None, int, str]:
    """All three."""
    return wears.value, asks.value, others.get()


def test_a_value_is_in_force_inside_and_what_was_before_it_after_also_where_the_call_fails() -> None:
    with wears.being("one"):
        with wears.being("other"), asks.being(2):
            assert now() == ("other", 2, "nothing")
        with pytest.raises(ZeroDivisionError), wears.being("other"):
            raise ZeroDivisionError
        assert now() == ("one", 0, "nothing")
    assert now() == (None, 0, "nothing")


def test_what_is_computed_later_sees_what_was_in_force_and_leaves_what_is() -> None:
    token = others.set("a family's own")
    with wears.being("one"), asks.being(1):
        run = as_now()
    others.reset(token)

    def fails(first: int, *, second: int) -> None:
        """Looks, then changes its mind."""
        assert now() == ("one", 1, "a family's own")
        raise ValueError(first + second)

    with wears.being("other"):
        assert run(now) == ("one", 1, "a family's own")
        with pytest.raises(ValueError, match="3"):
            run(fails, 1, second=2)
        assert now() == ("other", 0, "nothing")


def test_one_that_came_later_is_left_as_it_is() -> None:
    run = as_now()
    late = Surrounding("new")
    with late.being("newer"):
        assert run(lambda: late.value) == "newer"
