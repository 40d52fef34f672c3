"""Shapes of many rows are told apart at once, with the same outcome as one by one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from distill_core.data.reading.kinds import different_shapes

Shapes = list[tuple[Any, ...]]

SIZE = st.integers(0, 3) | st.integers(-(2**62), 2**62)


def column(rows: list[Any]) -> pa.ChunkedArray:
    half = len(rows) // 2
    return pa.chunked_array([pa.array(part, pa.list_(pa.int64())) for part in (rows[:half], rows[half:])])


def one_by_one(*columns: list[Any]) -> Shapes:
    return [tuple(None if shape is None else tuple(shape) for shape in row) for row in zip(*columns, strict=True)]


@given(st.lists(st.tuples(st.tuples(SIZE, SIZE), st.tuples(SIZE, SIZE, SIZE)), min_size=1, max_size=30))
def test_shapes_of_one_length(rows: Shapes) -> None:
    first, second = ([list(row[place]) for row in rows] for place in (0, 1))
    found, of_row = different_shapes([column(first), column(second)])
    assert len(set(found)) == len(found)
    assert [found[place] for place in of_row] == one_by_one(first, second)


@given(st.lists(st.none() | st.lists(st.none() | SIZE, max_size=3), min_size=1, max_size=30))
def test_shapes_of_several_lengths_with_nulls(rows: list[Any]) -> None:
    found, of_row = different_shapes([column(rows)])
    assert len(set(found)) == len(found)
    assert [found[place] for place in of_row] == one_by_one(rows)
