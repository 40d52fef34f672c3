"""The grouping of tokens in cubes, against sizes worked out by hand, and back again."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from distill_diffusers.sparse.cubes import cubes_of

CPU = torch.device("cpu")
grids = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


def test_a_grid_that_does_not_divide_has_smaller_cubes_at_its_far_edges() -> None:
    cubes = cubes_of((5, 9, 10), CPU)
    assert cubes.sizes.tolist() == [64, 64, 32, 64, 64, 32, 16, 16, 8, 16, 16, 8, 16, 16, 8, 4, 4, 2]
    assert not cubes.whole
    assert cubes_of((4, 8, 4), CPU).whole


def test_the_published_sizes_have_their_published_cubes() -> None:
    assert cubes_of((21, 30, 52), CPU).count == 6 * 8 * 13  # 480 × 832, 81 frames
    assert cubes_of((16, 28, 52), CPU).count == 364  # 448 × 832, 61 frames
    assert cubes_of((16, 28, 52), CPU).whole


def test_tokens_of_a_cube_stand_together_in_raster_order_of_time_height_and_width() -> None:
    cubes = cubes_of((2, 2, 3), CPU, (1, 2, 2))
    tokens_BNHD = torch.arange(12.0).view(1, 12, 1, 1)
    tiled_nS = cubes.tiled(tokens_BNHD)[0, 0, :, :, 0]
    assert tiled_nS.tolist() == [[0, 1, 3, 4], [2, 5, 0, 0], [6, 7, 9, 10], [8, 11, 0, 0]]


@given(grid=grids)
def test_what_was_tiled_comes_back_bitwise_and_empty_places_are_zero(grid: tuple[int, int, int]) -> None:
    cubes = cubes_of(grid, CPU)
    tokens_BNHD = torch.randn(2, grid[0] * grid[1] * grid[2], 3, 2, generator=torch.Generator().manual_seed(0))
    tiled = cubes.tiled(tokens_BNHD)
    assert torch.equal(cubes.untiled(tiled), tokens_BNHD)
    assert not tiled[:, :, ~cubes.filled()].any()
    assert int(cubes.filled().sum()) == tokens_BNHD.shape[1]
