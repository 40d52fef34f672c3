"""Passes of a denoiser that no package made for them: a Cosmos transformer attends sparsely, by blocks, and on a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

from distill_core.errors import ConfigError, PluginError, StreamError
from distill_core.protocols import Ask, Condition
from distill_diffusers.causal.streams import Past
from distill_diffusers.conditions import TOKENS, NamedTensors
from distill_diffusers.features import Layers
from distill_diffusers.passes.one_pass import Outcome, Passes
from distill_diffusers.passes.self_attention import follow_passes
from distill_diffusers.passes.time_embedding import Times
from distill_diffusers.sparse import gathered
from distill_diffusers.sparse.engines import Engine
from distill_diffusers.sparse.gates import GATE, attach_gates, gate_names
from distill_model_cosmos2.folder import inspect
from distill_model_cosmos2.testing import make_tiny_pipeline

CPU = torch.device("cpu")
BLOCKS = "transformer_blocks"
T_B = torch.tensor([700.0, 300.0], dtype=torch.float64)


class CosmosPasses(Passes):
    """All that a family says."""

    layers: ClassVar[Layers] = Layers()
    times: ClassVar[Times] = Times("time_embed", "t_embedder", "time_proj")

    def velocity(
        self, denoiser: Any, noisy_BTCHW: Tensor, timestep: Tensor, until: Tensor | None, condition: Condition
    ) -> Tensor:
        assert isinstance(condition, NamedTensors)
        time = timestep.float() / 1000.0
        with self.precision():
            velocity_BCTHW: Tensor = denoiser(
                hidden_states=noisy_BTCHW.transpose(1, 2),
                timestep=time if time.ndim == 1 else time[:, None, :, None, None],
                encoder_hidden_states=condition[TOKENS],
                padding_mask=noisy_BTCHW.new_zeros(1, 1, 8, 8),
                return_dict=False,
            )[0]
        return velocity_BCTHW.transpose(1, 2)

    def rotary(self, denoiser: Any, video_BCTHW: Tensor) -> tuple[Tensor, ...]:
        return tuple(each[None] for each in denoiser.rope(video_BCTHW))


def project(attn: Any, hidden_BNW: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    positions = tuple(each.view(-1, each.shape[-1]) for each in rotary)
    q, k, v = (layer(hidden_BNW).unflatten(2, (attn.heads, -1)) for layer in (attn.to_q, attn.to_k, attn.to_v))
    q, k = (
        apply_rotary_emb(norm(each).transpose(1, 2), positions, use_real=True, use_real_unbind_dim=-2).transpose(1, 2)
        for norm, each in ((attn.norm_q, q), (attn.norm_k, k))
    )
    return q, k, v


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pipeline(tmp_path_factory.mktemp("cosmos") / "cosmos")


@pytest.fixture
def denoiser(folder: Path) -> nn.Module:
    found: nn.Module = CosmosTransformer3DModel.from_pretrained(folder / "transformer")
    # A fresh denoiser puts out nothing of its blocks.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return found


@pytest.fixture
def predict(folder: Path, denoiser: nn.Module) -> Callable[..., Outcome]:
    """One pass of the denoiser, which can do all of it."""
    passes = CosmosPasses(inspect(str(folder)), CPU, torch.float32)
    attach_gates(denoiser, {}, torch.float32, BLOCKS)
    follow_passes(denoiser.get_submodule(BLOCKS), project)
    passes.engines[denoiser] = Engine("torch", "", gathered.fine)
    passes.causal.add(denoiser)
    text = NamedTensors({TOKENS: torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(5))})

    def run(noisy: Tensor, ask: Ask, timestep: Tensor = T_B, past: Past | None = None) -> Outcome:
        return passes.run(denoiser, noisy, timestep, text, ask, Past() if past is None else past)

    return run


def latents(frames: int, seed: int = 0) -> Tensor:
    """Of 12 rows and columns: 2 × 2 cubes of tokens."""
    return torch.randn(2, frames, 16, 12, 12, generator=torch.Generator().manual_seed(seed))


def test_plain_passes_are_what_the_denoiser_did_before(predict: Callable[..., Outcome], denoiser: nn.Module) -> None:
    before = predict(latents(4), Ask()).velocity
    blocks: Any = denoiser.get_submodule(BLOCKS)
    for block in blocks:
        block.attn1.set_processor(block.attn1.processor.plain)
    assert torch.equal(predict(latents(4), Ask()).velocity, before)


def test_fresh_gates_that_leave_nothing_out_change_nothing_and_learn(
    predict: Callable[..., Outcome], denoiser: nn.Module
) -> None:
    plain = predict(latents(4), Ask()).velocity
    sparse = predict(latents(4), Ask("vsa", 0.0)).velocity
    torch.testing.assert_close(sparse, plain, atol=1e-5, rtol=1e-5)
    less = predict(latents(4), Ask("vsa", 0.75)).velocity
    assert (less - plain).abs().max() > 1e-3
    less.square().sum().backward()
    assert [name for name, _ in denoiser.named_parameters() if GATE in name] == gate_names(2, BLOCKS)
    assert all(p.grad is not None and p.grad.any() for name, p in denoiser.named_parameters() if GATE in name)


def test_no_block_sees_a_later_one(predict: Callable[..., Outcome]) -> None:
    one, other = latents(4), latents(4, seed=1)
    other[:, :2] = one[:, :2]
    first, second = (predict(each, Ask(blocks=2)).velocity for each in (one, other))
    assert torch.equal(first[:, :2], second[:, :2])
    assert not torch.allclose(predict(one, Ask()).velocity[:, :2], first[:, :2], atol=1e-3)


def test_a_stream_of_clean_frames_is_what_clean_frames_beside_the_pass_are(predict: Callable[..., Outcome]) -> None:
    clean, noisy = latents(2, seed=2), latents(2)
    beside = predict(noisy, Ask(blocks=1, clean=clean)).velocity
    stored = predict(clean[:, :1], Ask(blocks=1, store=True), torch.zeros(2)).segment
    assert stored is not None
    on_stream = predict(noisy[:, 1:], Ask(blocks=1), past=Past(1, (stored,))).velocity
    torch.testing.assert_close(on_stream, beside[:, 1:], atol=1e-5, rtol=1e-5)


def test_what_a_denoiser_was_not_made_for_is_refused(predict: Callable[..., Outcome]) -> None:
    with pytest.raises(PluginError, match="asks until of a role that was loaded without"):
        predict(latents(1), Ask(until=torch.zeros(2)))
    with pytest.raises(StreamError, match="come to frame 5, and the model has positions for 4"):
        predict(latents(4), Ask(blocks=1), past=Past(1))
    with pytest.raises(ConfigError, match="attn_kind: is 'vsa', under which there is no blocks"):
        predict(latents(4), replace(Ask("vsa", 0.5), blocks=1))
