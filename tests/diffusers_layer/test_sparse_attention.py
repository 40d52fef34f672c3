"""Video sparse attention against dense attention with the same cubes masked out: values, gradients, and every engine that runs here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from distill_core.errors import ConfigError
from distill_diffusers.sparse import flex, gathered
from distill_diffusers.sparse.attend import SparseCall, sparse_attention
from distill_diffusers.sparse.cubes import Cubes, cubes_of
from distill_diffusers.sparse.engines import Engine, Work, choose_engine, kernel_fine, obstacle
from distill_diffusers.sparse.selection import coarse, kept_cubes, selected

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TORCH = Engine("torch", "", gathered.fine)
ODD = (5, 9, 6)
"""2 × 3 × 2 cubes, most of them cut."""


def tokens(grid: tuple[int, int, int], *, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    """q, k, v and a gate, [2, N, 3, 8], far enough from 0 for attention to be choosy."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, grid[0] * grid[1] * grid[2], 3, 8)
    return [2.0 * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(4)]


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention over all tokens, or those of a mask [B, H, N, N]."""
    heads_first = (each.transpose(1, 2) for each in (q, k, v))
    return scaled_dot_product_attention(*heads_first, attn_mask=mask).transpose(1, 2)


def masked(q: Tensor, k: Tensor, v: Tensor, cubes: Cubes, kept: int) -> Tensor:
    """What the fine branch is by definition: dense attention with the tokens of unselected cubes masked out."""
    _, scores = coarse(cubes.tiled(q), cubes.tiled(k), cubes.tiled(v), cubes)
    cube_N = cubes.place_N // cubes.places
    chosen_BHnn = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, selected(scores, kept), True)
    return dense(q, k, v, chosen_BHnn[:, :, cube_N][..., cube_N])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("grid", [ODD, (4, 8, 8), (1, 1, 1), (3, 2, 2)])
def test_with_nothing_left_out_and_a_gate_of_0_it_is_dense_attention(
    grid: tuple[int, int, int], dtype: torch.dtype, tolerance: float
) -> None:
    q, k, v, gate = (0.5 * each for each in tokens(grid, dtype=dtype))
    out = sparse_attention(q, k, v, torch.zeros_like(gate), SparseCall(grid, 0.0, TORCH))
    torch.testing.assert_close(out, dense(q, k, v), atol=tolerance, rtol=0)


@given(
    grid=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
    sparsity=st.floats(0, 0.99),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_it_is_dense_attention_with_the_other_cubes_masked_out(
    grid: tuple[int, int, int], sparsity: float, seed: int
) -> None:
    q, k, v, gate = tokens(grid, seed=seed)
    cubes = cubes_of(grid, CPU)
    out = sparse_attention(q, k, v, torch.zeros_like(gate), SparseCall(grid, sparsity, TORCH))
    torch.testing.assert_close(out, masked(q, k, v, cubes, kept_cubes(sparsity, cubes.count)), atol=1e-12, rtol=1e-12)


def test_gathering_in_pieces_changes_neither_values_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, gate = tokens(ODD)
    call = SparseCall(ODD, 0.6, TORCH)

    def run() -> tuple[Tensor, ...]:
        leaves = [each.clone().requires_grad_() for each in (q, k, v, gate)]
        out = sparse_attention(*leaves, call)
        return out.detach(), *torch.autograd.grad(out.square().sum(), leaves)

    whole = run()
    monkeypatch.setattr(gathered, "GATHERED", 3 * 2 * 5 * 64 * 8)  # one cube at a time
    for one, other in zip(whole, run(), strict=True):
        torch.testing.assert_close(other, one, atol=1e-12, rtol=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    grid = (2, 5, 5)
    leaves = [0.5 * each[:1, :, :1, :2] for each in tokens(grid)]
    call = SparseCall(grid, 0.5, TORCH)
    inputs = tuple(each.contiguous().requires_grad_() for each in leaves)
    assert torch.autograd.gradcheck(lambda *each: sparse_attention(*each, call), inputs, eps=1e-6, atol=1e-6)


def test_at_a_gate_of_0_the_gate_learns_and_queries_and_keys_learn_from_the_fine_branch_alone() -> None:
    q, k, v, _ = tokens(ODD)
    cubes = cubes_of(ODD, CPU)
    gate = torch.zeros_like(q).requires_grad_()
    leaves = [each.requires_grad_() for each in (q, k, v)]
    out = sparse_attention(*leaves, gate, SparseCall(ODD, 0.6, TORCH))
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    got = torch.autograd.grad(out, [gate, *leaves], upstream)
    coarse_BHnD, _ = coarse(*(cubes.tiled(each) for each in leaves), cubes)
    everywhere = cubes.untiled(coarse_BHnD[:, :, :, None].expand(-1, -1, -1, cubes.places, -1))
    torch.testing.assert_close(got[0], upstream * everywhere, atol=1e-12, rtol=1e-12)
    fine = masked(*leaves, cubes, kept_cubes(0.6, cubes.count))
    for one, other in zip(got[1:], torch.autograd.grad(fine, leaves, upstream), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_values_of_a_cube_that_nobody_selected_count_in_the_coarse_branch_alone() -> None:
    grid = (4, 4, 12)
    q, k, v, gate = tokens(grid)
    k = k.clone()
    k.view(2, 4, 4, 12, 3, 8)[..., 8:, :, :] = 0.0
    k.view(2, 4, 4, 12, 3, 8)[..., :8, :, :] = 3.0 * q.mean(dim=1, keepdim=True).view(2, 1, 1, 1, 3, 8)
    other = v.clone()
    other.view(2, 4, 4, 12, 3, 8)[..., 8:, :, :] += 5.0
    call = SparseCall(grid, 1 / 3, TORCH)
    closed, open_gate = torch.zeros_like(gate), torch.ones_like(gate)
    seen = selected(coarse(*(cubes_of(grid, CPU).tiled(each) for each in (q, k, v)), cubes_of(grid, CPU))[1], 2)
    unseen = ~(seen == 2).any(dim=-1)
    assert unseen.any()
    token = unseen.transpose(1, 2).repeat_interleave(64, dim=1)  # [B, places, H], in the order of the cubes
    order = cubes_of(grid, CPU).order_N
    shut = (sparse_attention(q, k, v, closed, call) - sparse_attention(q, k, other, closed, call))[:, order]
    ajar = (sparse_attention(q, k, v, open_gate, call) - sparse_attention(q, k, other, open_gate, call))[:, order]
    assert shut[token].abs().max() == 0
    assert ajar[token].abs().min() > 1e-4


def test_samples_and_heads_choose_for_themselves() -> None:
    q, k, v, gate = tokens(ODD)
    call = SparseCall(ODD, 0.7, TORCH)
    out = sparse_attention(q, k, v, gate, call)
    turned = sparse_attention(*(each.flip(0).roll(1, dims=2) for each in (q, k, v, gate)), call)
    torch.testing.assert_close(turned, out.flip(0).roll(1, dims=2), atol=1e-12, rtol=0)


# Engines


@pytest.mark.slow
@pytest.mark.parametrize("grid", [ODD, (4, 8, 12)])
def test_compiled_flex_attention_gives_what_gathering_gives(grid: tuple[int, int, int]) -> None:
    cubes = cubes_of(grid, CPU)
    q, k, v = (cubes.tiled(each.float().repeat(1, 1, 1, 2)) for each in tokens(grid)[:3])
    chosen = selected(coarse(q, k, v, cubes)[1], max(1, cubes.count // 3))
    with torch.no_grad():
        torch.testing.assert_close(
            flex.fine(q, k, v, chosen, cubes)[:, :, cubes.filled()],
            gathered.fine(q, k, v, chosen, cubes)[:, :, cubes.filled()],
            atol=5e-6,
            rtol=1e-4,
        )


@pytest.mark.parametrize("grid", [ODD, (4, 8, 12)])
def test_the_block_mask_holds_what_was_selected_whole_cubes_apart_from_cut_ones(grid: tuple[int, int, int]) -> None:
    cubes = cubes_of(grid, CPU)
    q, k, v = (cubes.tiled(each) for each in tokens(grid)[:3])
    chosen = selected(coarse(q, k, v, cubes)[1], 2)
    mask = flex.block_mask(chosen, cubes, gradients=True)
    assert mask.full_kv_num_blocks is not None
    assert mask.full_kv_indices is not None
    for b, h, n in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(cubes.count)).tolist():
        cut = mask.kv_indices[b, h, n, : mask.kv_num_blocks[b, h, n]].tolist()
        full = mask.full_kv_indices[b, h, n, : mask.full_kv_num_blocks[b, h, n]].tolist()
        assert sorted(cut + full) == sorted(chosen[b, h, n].tolist())
        assert all(cubes.sizes[cube] == 64 for cube in full)
        assert all(cubes.sizes[cube] < 64 for cube in cut)


def test_a_package_of_kernels_is_given_flat_cubes_a_mask_and_sizes_and_its_first_answer_is_taken() -> None:
    cubes = cubes_of(ODD, CPU)
    q, k, v = (cubes.tiled(each) for each in tokens(ODD)[:3])
    chosen = selected(coarse(q, k, v, cubes)[1], 3)

    def package(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        assert q.is_contiguous()
        assert mask.dtype == torch.bool
        assert sizes.dtype == torch.int32
        keys = (torch.arange(64) < sizes[:, None]).flatten()
        allowed = mask.repeat_interleave(64, dim=-1).repeat_interleave(64, dim=-2) & keys
        return scaled_dot_product_attention(q, k, v, attn_mask=allowed), torch.empty(0)

    torch.testing.assert_close(
        kernel_fine(package)(q, k, v, chosen, cubes), gathered.fine(q, k, v, chosen, cubes), atol=1e-12, rtol=1e-12
    )


def test_on_a_cpu_plain_torch_is_chosen_and_the_others_say_why_they_cannot() -> None:
    work = Work(CPU, torch.float32, 12)
    assert choose_engine("auto", work).name == "torch"
    with pytest.raises(
        ConfigError, match=r"vsa_engine: the flex engine works on a CUDA GPU only, and this run is on cpu"
    ):
        choose_engine("flex", work)
    with pytest.raises(ConfigError, match=r"the kernel engine works on a CUDA GPU only"):
        choose_engine("kernel", work)


def test_on_a_gpu_each_engine_says_what_it_cannot_take(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"fastvideo_kernel": False}
    monkeypatch.setattr("distill_diffusers.sparse.engines.find_spec", lambda name: there.get(name) or None)
    bf16 = Work(CUDA, torch.bfloat16, 128)
    assert obstacle("flex", bf16) is None
    assert "neither is installed" in str(obstacle("kernel", bf16))
    assert choose_engine("auto", bf16).name == "flex"
    there["fastvideo_kernel"] = True
    assert obstacle("kernel", bf16) is None
    assert "set training.precision: bf16" in str(obstacle("kernel", Work(CUDA, torch.float32, 128)))
    assert "heads of 64 or 128" in str(obstacle("kernel", Work(CUDA, torch.bfloat16, 80)))
    assert "heads of 16 numbers or more" in str(obstacle("flex", Work(CUDA, torch.bfloat16, 12)))


@pytest.mark.gpu
@pytest.mark.parametrize("grid", [ODD, (4, 8, 12)])
def test_on_a_gpu_flex_attention_has_the_values_and_gradients_of_gathering(grid: tuple[int, int, int]) -> None:
    cubes = cubes_of(grid, CUDA)
    chosen = None
    results = []
    for engine in (gathered.fine, flex.fine):
        leaves = [
            torch.randn(2, len(cubes.place_N), 3, 64, generator=torch.Generator().manual_seed(seed))
            .cuda()
            .requires_grad_()
            for seed in range(3)
        ]
        q, k, v = (cubes.tiled(each) for each in leaves)
        chosen = selected(coarse(q, k, v, cubes)[1], 3) if chosen is None else chosen
        out = cubes.untiled(engine(q, k, v, chosen, cubes))
        results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)
