"""Causal predictions on tiny real transformers: blocks, clean context, a timestep of each frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.wan.causal_case import FRAMES, SIZE, Case, Draw, float64, of_blocks
from tests.wan.conftest import MakeModel, MakeRole, encoded
from torch import Tensor

from distill_core.errors import ConfigError, ModelFolderError, PluginError
from distill_core.protocols import ModelRequest
from distill_diffusers.causal.streams import FrameStream
from distill_model_wan.folder import WanFolder
from distill_model_wan.testing import Variant

VARIANTS: tuple[Variant, ...] = ("t2v", "a14b", "ti2v")


# A timestep of each frame


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_timestep_of_each_frame_is_that_of_the_sample(case: Callable[..., Case], variant: Variant) -> None:
    it = case(variant, trainable=False)
    t_B = float64([900.0, 300.0])
    by_frame = it.predict(it.noisy, t_B[:, None].expand(-1, FRAMES)).velocity
    torch.testing.assert_close(by_frame, it.predict(it.noisy, t_B).velocity, rtol=0, atol=2e-6)


def test_a_timestep_of_each_frame_is_that_of_each_of_its_tokens(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    """WanPipeline gives a transformer that expands timesteps one of each token; the embedding is made once per frame here."""
    model = make_model("ti2v", text_padding="full")
    role = make_role(model, "ti2v", trainable=False)
    noisy, t_BT, text = noise(1, 3, 48, 4, 4), float64([[900.0, 400.0, 0.0]]), encoded(model.adapter, ["a cat"])
    with torch.no_grad():
        expected = role.modules["transformer"](
            noisy.transpose(1, 2), t_BT.float().repeat_interleave(4, dim=1), text.embeds_BLD, return_dict=False
        )[0]
    velocity = role.predict_velocity(noisy, t_BT, text)
    torch.testing.assert_close(velocity, expected.transpose(1, 2), rtol=0, atol=1e-6)


def test_experts_are_chosen_by_all_frames_of_a_sample(case: Callable[..., Case]) -> None:
    it = case("a14b", trainable=False)
    one_each = float64([[900.0] * FRAMES, [300.0] * FRAMES])
    by_frame = it.predict(it.noisy, one_each).velocity
    torch.testing.assert_close(by_frame, it.predict(it.noisy, one_each[:, 0]).velocity, rtol=0, atol=2e-6)
    torn = float64([[900.0] * FRAMES, [900.0] * (FRAMES - 1) + [874.0]])
    with pytest.raises(
        PluginError, match=r"sample 1 has frames at the timesteps 874 to 900, on both sides of the boundary 875"
    ):
        it.predict(it.noisy, torn)


# Blocks and streams


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_pass_over_the_whole_is_the_stream_block_by_block(
    case: Callable[..., Case], variant: Variant, checkpointing: bool
) -> None:
    it = case(variant, gradient_checkpointing=checkpointing)
    t_BT = of_blocks(999.0, 950.0, 920.0)
    whole = it.predict(it.noisy, t_BT, blocks=SIZE, store=True)
    velocity, stream = it.streamed(t_BT)
    torch.testing.assert_close(velocity, whole.velocity, rtol=0, atol=1e-5)
    assert velocity.requires_grad
    assert (len(stream), stream.frames) == (2, FRAMES)
    assert isinstance(stream, FrameStream)
    assert isinstance(whole.stream, FrameStream)
    assert set(stream.memories) == set(it.role.modules)
    for name, memory in stream.memories.items():
        (other,) = whole.stream.memories[name]
        for layer in range(2):
            keys = torch.cat([segment.layers[layer][0] for segment in memory], dim=1)
            torch.testing.assert_close(keys, other.layers[layer][0], rtol=0, atol=1e-5)
            assert not keys.requires_grad


def test_samples_of_two_experts_go_on_from_one_stream(case: Callable[..., Case]) -> None:
    """Each expert has keys and values of its own, made at the timestep that was stored at; a sample may go from one to the other."""
    it = case("a14b", trainable=False)
    low_high = float64([[300.0] * FRAMES, [900.0] * FRAMES])
    whole = it.predict(it.noisy, low_high, blocks=SIZE).velocity
    velocity, stream = it.streamed(low_high)
    torch.testing.assert_close(velocity, whole, rtol=0, atol=1e-5)
    ahead = it.noisy[:, :SIZE]
    mixed = it.predict(ahead, float64([900.0, 300.0]), stream=stream).velocity
    for row, t in enumerate((900.0, 300.0)):
        alone = it.predict(ahead, float64([t, t]), stream=stream).velocity
        torch.testing.assert_close(mixed[row], alone[row], rtol=0, atol=1e-5)


def test_in_bf16_the_stream_agrees_as_far_as_bf16_does(case: Callable[..., Case]) -> None:
    it = case(dtype=torch.bfloat16)
    t_BT = of_blocks(999.0, 950.0, 920.0)
    whole = it.predict(it.noisy, t_BT, blocks=SIZE).velocity
    velocity, stream = it.streamed(t_BT)
    torch.testing.assert_close(velocity, whole, rtol=0, atol=0.05)
    assert isinstance(stream, FrameStream)
    kept = {tensor.dtype for segment in stream.memories["transformer"] for pair in segment.layers for tensor in pair}
    assert kept == {torch.bfloat16}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradients_of_a_streamed_block_are_those_of_the_whole(
    case: Callable[..., Case], checkpointing: bool
) -> None:
    """With respect to its own latents: what went before is a constant to it."""
    it = case(gradient_checkpointing=checkpointing)
    t_BT = of_blocks(999.0, 950.0, 920.0)
    last = slice(FRAMES - SIZE, FRAMES)
    whole = it.noisy.clone().requires_grad_()
    it.predict(whole, t_BT, blocks=SIZE).velocity[:, last].square().sum().backward()
    stream = it.predict(it.noisy[:, :-SIZE], t_BT[:, :-SIZE], blocks=SIZE, store=True).stream
    own = it.noisy[:, last].clone().requires_grad_()
    made = it.predict(own, t_BT[:, last], stream=stream, store=True)
    it.role.container.zero_grad()
    # Another prediction comes and goes before the layers are run again: they must not take part in it.
    it.predict(it.noisy, t_BT)
    made.velocity.square().sum().backward()
    assert whole.grad is not None
    assert own.grad is not None
    torch.testing.assert_close(own.grad, whole.grad[:, last], rtol=0, atol=1e-4)
    assert made.stream is not None
    assert made.stream.frames == FRAMES


def test_no_block_sees_a_later_one(case: Callable[..., Case]) -> None:
    it = case(trainable=False)
    t_BT = of_blocks(999.0, 950.0, 920.0)
    base = it.predict(it.noisy, t_BT, blocks=SIZE).velocity
    changed = it.noisy.clone()
    changed[:, 3] += 1.0
    moved = (it.predict(changed, t_BT, blocks=SIZE).velocity - base).abs().amax((0, 2, 3, 4))
    assert moved[:SIZE].max() < 1e-6
    assert moved[SIZE:].min() > 1e-5


def test_one_block_is_the_plain_prediction(case: Callable[..., Case]) -> None:
    it = case(trainable=False)
    t_B = float64([900.0, 300.0])
    plain = it.predict(it.noisy, t_B).velocity
    for ask in ({"blocks": FRAMES}, {"blocks": FRAMES + 5}, {"store": True}):
        torch.testing.assert_close(it.predict(it.noisy, t_B, **ask).velocity, plain, rtol=0, atol=1e-6)


def test_a_role_for_causal_predictions_makes_plain_ones_bitwise(case: Callable[..., Case]) -> None:
    it, plain = case(trainable=False), case(trainable=False, operations=frozenset({"predict"}))
    t_B = float64([900.0, 300.0])
    assert it.predict(it.noisy, t_B).velocity.equal(plain.predict(it.noisy, t_B).velocity)


# Clean context


@pytest.mark.parametrize("variant", VARIANTS)
def test_clean_frames_as_context_are_a_stream_of_clean_blocks(case: Callable[..., Case], variant: Variant) -> None:
    it = case(variant, trainable=False)
    clean, t_BT = it.noisy.flip(1), of_blocks(999.0, 950.0, 920.0)
    at_once = it.predict(it.noisy, t_BT, blocks=SIZE, clean=clean).velocity
    stream, velocities = None, []
    for start in range(0, FRAMES, SIZE):
        own = slice(start, start + SIZE)
        velocities.append(it.predict(it.noisy[:, own], t_BT[:, own], stream=stream).velocity)
        stream = it.predict(clean[:, own], float64([0.0, 0.0]), stream=stream, store=True).stream
    torch.testing.assert_close(at_once, torch.cat(velocities, dim=1), rtol=0, atol=1e-5)


def test_a_noisy_block_sees_clean_blocks_before_it_and_no_other_noisy_one(case: Callable[..., Case]) -> None:
    it = case(trainable=False)
    clean, t_BT = it.noisy.flip(1), of_blocks(999.0, 950.0, 920.0)

    def moved(noisy: Tensor, context: Tensor) -> list[bool]:
        """Which blocks' velocities change."""
        change = it.predict(noisy, t_BT, blocks=SIZE, clean=context).velocity - base
        return (change.unflatten(1, (-1, SIZE)).abs().amax((0, 2, 3, 4, 5)) > 1e-5).tolist()

    base = it.predict(it.noisy, t_BT, blocks=SIZE, clean=clean).velocity
    second = torch.zeros_like(clean)
    second[:, 2:4] = 1.0
    assert moved(it.noisy + second, clean) == [False, True, False]
    assert moved(it.noisy, clean + second) == [False, False, True]


def test_features_beside_clean_frames_are_those_of_the_noisy_ones(case: Callable[..., Case]) -> None:
    it = case(trainable=False)
    t_BT = of_blocks(999.0, 950.0, 920.0)
    (features,) = it.predict(it.noisy, t_BT, blocks=SIZE, clean=it.noisy, features=(1,)).features
    bare = it.predict(it.noisy[:, :SIZE], t_BT[:, :SIZE], features=(1,)).features[0]
    assert features.shape == (2, FRAMES, 24, 2, 2)
    torch.testing.assert_close(features[:, :SIZE], bare, rtol=0, atol=1e-5)


# What is refused


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ({"clean": True}, "it gives clean frames and no blocks"),
        ({"clean": True, "blocks": 2, "store": True}, "it stores a stream beside clean frames"),
        ({"blocks": 0}, "blocks \\(0\\) and window"),
        ({"store": True, "window": 0}, "window \\(0\\)"),
        ({"store": True, "sink": -1}, "sink \\(-1\\)"),
    ],
)
def test_asks_that_contradict_themselves_are_refused(
    case: Callable[..., Case], ask: dict[str, Any], words: str
) -> None:
    it = case(trainable=False)
    given = {name: it.noisy if name == "clean" else value for name, value in ask.items()}
    with pytest.raises(PluginError, match=words):
        it.predict(it.noisy, float64([900.0, 300.0]), **given)


def test_a_role_that_was_loaded_without_is_refused_by_name(case: Callable[..., Case]) -> None:
    it = case(trainable=False, operations=frozenset({"predict"}))
    t_B = float64([900.0, 300.0])
    with pytest.raises(PluginError, match="it asks blocks, stream of a role that was loaded without"):
        it.predict(it.noisy, t_B, blocks=2, store=True)


@pytest.mark.parametrize(
    ("ask", "names"),
    [({"blocks": 2}, "blocks"), ({"store": True}, "stream"), ({"blocks": 2, "clean": True}, "blocks, clean")],
)
def test_sparse_attention_does_not_go_with_them(case: Callable[..., Case], ask: dict[str, Any], names: str) -> None:
    it = case(trainable=False, attention=("dense", "vsa"))
    given = {name: it.noisy if name == "clean" else value for name, value in ask.items()}
    t_B = float64([900.0, 300.0])
    with pytest.raises(
        ConfigError, match=f"attn_kind: is 'vsa', under which there is no {names}; set attn_kind: dense"
    ):
        it.predict(it.noisy, t_B, attn_kind="vsa", sparsity=0.0, **given)
    assert it.predict(it.noisy, t_B, **given).velocity.isfinite().all()
    assert (
        it.predict(it.noisy, t_B[:, None].expand(-1, FRAMES), attn_kind="vsa", sparsity=0.0).velocity.isfinite().all()
    )


def test_tokens_of_several_frames_are_refused(make_model: MakeModel, folders: dict[Variant, WanFolder]) -> None:
    facts = replace(folders["t2v"], patch=(2, 2, 2))
    request = ModelRequest(facts, False, torch.float32, operations=frozenset({"blocks", "predict"}))
    with pytest.raises(ModelFolderError, match="its tokens span 2 latent frames, and blocks tell single frames apart"):
        make_model().load_modules(request)
