"""How many cubes are kept, which, and what attention between cubes gives, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distill_diffusers.sparse import gathered
from distill_diffusers.sparse.attend import SparseCall, dense, sparse_attention
from distill_diffusers.sparse.cubes import cubes_of
from distill_diffusers.sparse.engines import Engine
from distill_diffusers.sparse.selection import coarse, kept_cubes, means, selected

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cubes", "sparsity", "kept"),
    [
        (624, 0.8, 125), (624, 0.875, 78), (624, 0.9, 63), (1440, 0.8, 288), (1440, 0.9, 144), (364, 0.8, 73), (364, 0.9, 37),
        (128, 0.75, 32), (128, 0.8, 26), (10, 0.9, 1), (10, 0.7, 3), (10, 0.1 + 0.2, 7), (8, 0.0, 8), (1, 0.99, 1),
    ],
)  # fmt: skip
def test_as_many_cubes_are_kept_as_published(cubes: int, sparsity: float, kept: int) -> None:
    assert kept_cubes(sparsity, cubes) == kept


@given(cubes=st.integers(1, 2000), low=st.floats(0, 0.999), high=st.floats(0, 0.999))
def test_a_higher_sparsity_never_keeps_more_and_always_something(cubes: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert 1 <= kept_cubes(high, cubes) <= kept_cubes(low, cubes) <= cubes


@pytest.mark.parametrize("sparsity", [1.0, -0.1, float("nan")])
def test_a_sparsity_outside_its_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match=r"a sparsity lies in \[0, 1\)"):
        kept_cubes(sparsity, 8)


def test_a_smaller_cube_is_the_mean_of_its_own_tokens() -> None:
    cubes = cubes_of((1, 1, 5), CPU)
    assert means(cubes.tiled(torch.arange(5.0).view(1, 5, 1, 1)), cubes).flatten().tolist() == [1.5, 4.0]


def row(*values: float) -> Tensor:
    """One number per token, [1, N, 1, 1]."""
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)


Q, K, V = row(1, 0, 2), row(1, 1, 0), row(2, 4, 6)


def test_attention_between_cubes_is_that_of_their_means() -> None:
    cubes = cubes_of((1, 1, 3), CPU, (1, 1, 2))
    out, scores = coarse(*(cubes.tiled(each) for each in (Q, K, V)), cubes)
    assert scores[0, 0].tolist() == [[0.5, 0.0], [2.0, 0.0]]
    torch.testing.assert_close(out.flatten(), torch.tensor([4.1326, 3.3576], dtype=torch.float64), atol=1e-4, rtol=0)
    assert selected(scores, 1).flatten().tolist() == [0, 0]


def test_the_fine_branch_attends_to_the_tokens_of_what_was_selected() -> None:
    cubes = cubes_of((1, 1, 3), CPU, (1, 1, 2))
    q, k, v = (cubes.tiled(each) for each in (Q, K, V))
    one = gathered.fine(q, k, v, torch.zeros(1, 1, 2, 1, dtype=torch.int64), cubes)
    assert cubes.untiled(one).flatten().tolist() == [3.0, 3.0, 3.0]
    everything = torch.tensor([3.4661, 4.0, 3.1901], dtype=torch.float64)
    both = gathered.fine(q, k, v, torch.tensor([[[[0, 1], [1, 0]]]]), cubes)
    torch.testing.assert_close(cubes.untiled(both).flatten(), everything, atol=1e-4, rtol=0)
    torch.testing.assert_close(dense(Q, K, V).flatten(), everything, atol=1e-4, rtol=0)


def test_the_gate_weighs_the_coarse_branch_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    small = cubes_of((1, 1, 3), CPU, (1, 1, 2))
    monkeypatch.setattr("distill_diffusers.sparse.attend.cubes_of", lambda grid, device: small)
    call = SparseCall((1, 1, 3), 0.5, Engine("torch", "", gathered.fine))
    for gate, expected in ((1.0, [7.1326, 7.1326, 6.3576]), (0.0, [3.0, 3.0, 3.0]), (-0.5, [0.9337, 0.9337, 1.3212])):
        out = sparse_attention(Q, K, V, torch.full_like(Q, gate), call).flatten()
        torch.testing.assert_close(out, torch.tensor(expected, dtype=torch.float64), atol=1e-4, rtol=0)
