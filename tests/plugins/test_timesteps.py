"""distill_core.plugins.timesteps: the steps of a few-step student, as every method's options take them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_core.plugins.timesteps import few_steps

descending = st.lists(st.floats(1.5, 1000.0), min_size=1, max_size=6, unique=True).map(lambda s: (*sorted(s)[::-1],))


@given(descending)
def test_steps_that_descend_are_as_they_are_and_a_trailing_0_is_no_step(steps: tuple[float, ...]) -> None:
    assert few_steps(steps) == few_steps((*steps, 0.0)) == steps


@given(descending.filter(lambda steps: len(steps) > 1))
def test_steps_that_ascend_are_told_sorted(steps: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="descend strictly") as told:
        few_steps(steps[::-1])
    assert str(told.value).endswith(str([*steps]))


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((1000.0, 1000.0), "descend strictly"),
        ((1000.0, 0.0, 0.0), "above 0"),
        ((0.0,), "above 0"),
        ((1.0, 0.5, 0.0), r"did you mean × 1000, \[1000, 500\]"),
    ],
)
def test_steps_that_are_none_are_refused(steps: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        few_steps(steps)
