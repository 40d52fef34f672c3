"""Who sees whom in a causal pass: masks written out by hand, and the same mask in each of its forms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from distill_diffusers.causal import attend
from distill_diffusers.causal.attend import CausalCall, causal_attention
from distill_diffusers.causal.sight import TILE, Arrangement, Sight, sight_of

CPU = torch.device("cpu")


def sight(arrangement: Arrangement) -> Sight:
    found = sight_of(arrangement, CPU)
    assert found is not None
    return found


def rows(mask: Tensor) -> list[str]:
    return ["".join("x" if seen else "." for seen in row) for row in mask.tolist()]


def test_a_block_sees_itself_and_the_blocks_before_it() -> None:
    assert rows(sight(Arrangement(frames=3, blocks=2, per_frame=1)).dense) == ["xx.", "xx.", "xxx"]


def test_two_blocks_with_clean_frames_as_context() -> None:
    """Keys C0 C1 N0 N1: a clean block sees the clean ones up to itself, a noisy one the clean ones before it, and itself."""
    assert rows(sight(Arrangement(frames=2, blocks=1, per_frame=1, clean=True)).dense) == [
        "x...",
        "xx..",
        "..x.",
        "x..x",
    ]


def test_everyone_sees_the_stream() -> None:
    assert rows(sight(Arrangement(frames=2, blocks=1, per_frame=1, past=2)).dense) == ["xxx.", "xxxx"]
    both = sight(Arrangement(frames=2, blocks=1, per_frame=1, clean=True, past=1))
    assert rows(both.dense) == ["xx...", "xxx..", "x..x.", "xx..x"]


def test_frames_have_several_tokens() -> None:
    assert rows(sight(Arrangement(frames=2, blocks=1, per_frame=2)).dense) == ["xx..", "xx..", "xxxx", "xxxx"]


def test_one_block_needs_no_mask() -> None:
    assert sight_of(Arrangement(frames=3, blocks=3, per_frame=2, past=4), CPU) is None
    assert sight_of(Arrangement(frames=3, blocks=7, per_frame=2), CPU) is None


LARGE = [
    Arrangement(frames=6, blocks=2, per_frame=64),
    Arrangement(frames=5, blocks=2, per_frame=50),
    Arrangement(frames=4, blocks=1, per_frame=70, clean=True),
    Arrangement(frames=4, blocks=3, per_frame=33, clean=True, past=3),
]


@pytest.mark.parametrize("arrangement", LARGE)
def test_tiles_are_listed_as_whole_cut_or_not_at_all(arrangement: Arrangement) -> None:
    found = sight(arrangement)
    mask, dense = found.block_mask, found.dense
    assert mask.full_kv_num_blocks is not None
    assert mask.full_kv_indices is not None
    tiles = [list(part.split(TILE, dim=1)) for part in dense.split(TILE, dim=0)]
    assert mask.kv_indices.shape[-2:] == (len(tiles), len(tiles[0]))
    for i, row in enumerate(tiles):
        cut = mask.kv_indices[0, 0, i, : mask.kv_num_blocks[0, 0, i]].tolist()
        full = mask.full_kv_indices[0, 0, i, : mask.full_kv_num_blocks[0, 0, i]].tolist()
        seen = [j for j, tile in enumerate(row) if tile.any()]
        assert sorted(cut + full) == seen
        assert sorted(full) == [j for j in seen if row[j].all() and row[j].shape == (TILE, TILE)]


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """flex_attention without a compiler, which it can do without on a CPU, forward."""
    monkeypatch.setattr(attend, "flexible", lambda v, call: True)
    monkeypatch.setattr(attend, "compiled_attention", lambda: flex_attention)
    with torch.no_grad():
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("arrangement", LARGE)
def test_flex_attention_gives_what_a_dense_mask_gives(
    arrangement: Arrangement, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sight(arrangement)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, length, 2, 16, generator=generator) for length in (len(found.reach_N), found.keys, found.keys)
    )
    call = CausalCall((q, q), found)
    flexible = causal_attention(q, k, v, 0, call)
    monkeypatch.setattr(attend, "flexible", lambda v, call: False)
    torch.testing.assert_close(flexible, causal_attention(q, k, v, 0, call), rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("arrangement", LARGE)
def test_on_a_gpu_flex_attention_has_the_values_and_gradients_of_a_dense_mask(
    arrangement: Arrangement, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = torch.device("cuda")
    found = sight_of(arrangement, cuda)
    assert found is not None
    generator = torch.Generator().manual_seed(0)
    lengths = (len(found.reach_N), found.keys, found.keys)
    results = []
    for flexible in (True, False):
        monkeypatch.setattr(attend, "flexible", lambda v, call, chosen=flexible: chosen)
        generator.manual_seed(0)
        leaves = [torch.randn(2, n, 2, 64, generator=generator).to(cuda).requires_grad_() for n in lengths]
        out = causal_attention(*leaves, 0, CausalCall((leaves[0], leaves[0]), found))
        out.square().mean().backward()
        results.append([out, *(leaf.grad for leaf in leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)


@pytest.mark.gpu
def test_on_a_gpu_derivatives_and_narrow_heads_go_by_a_dense_mask() -> None:
    v, narrow = (torch.zeros(1, 1, 1, width, device="cuda") for width in (16, 12))
    assert attend.flexible(v, CausalCall((v, v)))
    assert not attend.flexible(narrow, CausalCall((v, v)))
    assert not attend.flexible(v, CausalCall((v, v), forward_mode=True))
