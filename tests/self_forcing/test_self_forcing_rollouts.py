"""Clips that a causal student makes: forwards, streams, graphs and noise, counted and held against rollouts by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distill_core import flow
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec, Options
from distill_core.protocols import Ask, Prediction
from distill_core.testing.contracts import FAMILY, LATENT_SHAPE, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter
from distill_core.training.roles import RoleHandle
from distill_method_self_forcing.config import CausvidOptions, SelfForcingOptions
from distill_method_self_forcing.noised import Noised
from distill_method_self_forcing.plugin import distill_register_methods
from distill_method_self_forcing.streamed import Streamed

FRAMES = LATENT_SHAPE[0]
STEPS = (1000.0, 750.0, 500.0, 250.0)


def spec(name: str = "self-forcing") -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return next(each for each in registry.specs if each.name == name)


def student(options: Options, name: str = "self-forcing") -> RoleHandle:
    return toy_roles(spec(name), options)["student"]


class Calls:
    """What the student is asked, in its order: (frames, timestep, whether with a graph, whether it is to be stored)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[int, float, bool, bool]] = []
        original = ToyAdapter.predict

        def predict(adapter: ToyAdapter, modules: Any, x: Tensor, t: Tensor, condition: Any, ask: Ask) -> Prediction:
            self.made.append((x.shape[1], t.max().item(), torch.is_grad_enabled(), ask.store))
            return original(adapter, modules, x, t, condition, ask)

        monkeypatch.setattr(ToyAdapter, "predict", predict)


@pytest.mark.parametrize("step", range(1, 6))
def test_a_block_is_its_steps_up_to_the_drawn_one_with_one_graph_and_is_then_remembered(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SelfForcingOptions(block=3)
    role, draw, calls = student(options), toy_draw(step), Calls(monkeypatch)
    Streamed(role, options, STEPS)(toy_batch(), draw)
    last = draw.shared_index("exit", 4)

    def own(frames: int) -> list[tuple[int, float, bool, bool]]:
        """One block's."""
        return [*((frames, t, False, False) for t in STEPS[:last]), (frames, STEPS[last], True, False)]

    assert calls.made == [*own(3), (3, 0.0, False, True), *own(1)], "nobody sees the last block, so nobody remembers it"


def test_without_gradients_nothing_has_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    options = SelfForcingOptions(block=1)
    role, calls = student(options), Calls(monkeypatch)
    with torch.no_grad():
        sample = Streamed(role, options, STEPS)(toy_batch(), toy_draw(1))
    assert not sample.x_BTCHW.requires_grad
    assert not any(graph for _, _, graph, _ in calls.made)


def test_a_clip_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of each block, its steps with fresh noise, the result remembered at timestep 0 in a window with a sink."""
    options = SelfForcingOptions(block=1, window=1, sink=1)
    role, batch = student(options), toy_batch()
    step = next(step for step in range(1, 50) if toy_draw(step).shared_index("exit", 2) == 1)
    draw = toy_draw(step)
    sample = Streamed(role, options, (1000.0, 500.0))(batch, draw)

    def predicted(x: Tensor, t: float, stream: Any, **ask: Any) -> Prediction:
        t_B = torch.full((3,), t, dtype=torch.float64)
        return role.adapter.predict(role.modules, x, t_B, batch.conditions[FAMILY], Ask(stream=stream, **ask))

    stream, blocks = None, []
    for number in range(FRAMES):
        own, shape = draw.within(f"block {number}"), (1, *LATENT_SHAPE[1:])
        start = own.normal("start", shape)
        first = start - predicted(start, 1000.0, stream).velocity
        x = 0.5 * first + 0.5 * own.normal("renoise/0", shape)
        blocks.append(x - 0.5 * predicted(x, 500.0, stream).velocity)
        stream = predicted(blocks[-1], 0.0, stream, store=True, window=1, sink=1).stream
    torch.testing.assert_close(sample.x_BTCHW, torch.cat(blocks, dim=1))
    assert sample.next_B.tolist() == [0.0] * 3


def test_no_gradient_goes_from_a_block_to_the_one_before_it() -> None:
    """Each block's loss reaches the student by its own forward alone: that of all blocks is the sum of theirs."""
    options = SelfForcingOptions(block=2, dmd_denoising_steps=(1000,))
    role, batch, draw = student(options), toy_batch(), toy_draw(1)
    parameters = list(role.container.parameters())
    clips = Streamed(role, options, (1000.0,))

    def gradient(keep: slice) -> Tensor:
        loss = (clips(batch, draw).x_BTCHW[:, keep] ** 2).sum()
        return torch.cat([each.flatten() for each in torch.autograd.grad(loss, parameters)])

    x = clips(batch, draw).x_BTCHW.detach()
    stream = Streamed(role, options, (1000.0,)).remembered(x[:, :2], batch, None)
    t_B = torch.full((3,), 1000.0, dtype=torch.float64)
    start = draw.within("block 1").normal("start", (2, *LATENT_SHAPE[1:]))
    alone = role.predict_x0(start, t_B, batch.conditions[FAMILY], Ask(stream=stream))
    expected = torch.cat([each.flatten() for each in torch.autograd.grad((alone**2).sum(), parameters)])
    torch.testing.assert_close(gradient(slice(2, 4)), expected)


def test_a_block_does_not_depend_on_later_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    options = SelfForcingOptions(block=1)
    role, batch = student(options), toy_batch()
    whole = Streamed(role, options, STEPS)(batch, toy_draw(1)).x_BTCHW
    shorter = type(batch)(batch.rows, batch.conditions, (2, *LATENT_SHAPE[1:]), None)
    torch.testing.assert_close(Streamed(role, options, STEPS)(shorter, toy_draw(1)).x_BTCHW, whole[:, :2])


def test_blocks_leave_at_one_step_or_each_at_its_own() -> None:
    draws = [toy_draw(step) for step in range(1, 30)]
    apart = [[draw.within(f"block {b}").shared_index("exit", 4) for b in range(2)] for draw in draws]
    assert any(one != two for one, two in apart)
    options = SelfForcingOptions(block=2, same_step_across_blocks=False)
    role = student(options)
    made = Streamed(role, options, STEPS)(toy_batch(), draws[0])
    assert made.next_B.tolist() == [0.0] * 3


@pytest.mark.parametrize("move", ["sde", "ode"])
def test_what_comes_between_steps_is_fresh_noise_or_the_flow(move: str) -> None:
    options = SelfForcingOptions.model_validate({"block": FRAMES, "rollout_move": move})
    role, batch = student(options), toy_batch()
    step = next(step for step in range(1, 50) if toy_draw(step).shared_index("exit", 2) == 1)
    own = toy_draw(step).within("block 0")
    start, t_B = own.normal("start", LATENT_SHAPE), torch.full((3,), 1000.0, dtype=torch.float64)
    x0 = role.predict_x0(start, t_B, batch.conditions[FAMILY])
    between = 0.5 * x0 + 0.5 * (own.normal("renoise/0", LATENT_SHAPE) if move == "sde" else start)
    expected = role.predict_x0(between, t_B / 2, batch.conditions[FAMILY])
    made = Streamed(role, options, (1000.0, 500.0))(batch, toy_draw(step)).x_BTCHW
    torch.testing.assert_close(made, expected)


def test_a_longer_rollout_is_judged_by_its_end_whose_first_frame_is_encoded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = SelfForcingOptions(block=2, extra_blocks=1, dmd_denoising_steps=(1000,))
    role, batch = student(options), toy_batch()
    step = next(step for step in range(1, 50) if toy_draw(step).shared_index("extra blocks", 2) == 1)
    calls = Calls(monkeypatch)
    sample = Streamed(role, options, (1000.0,))(batch, toy_draw(step))
    assert sample.first == 2, "the block that begins with it is context"
    assert sample.x_BTCHW.shape[1] == FRAMES
    assert [graph for _, _, graph, stored in calls.made if not stored] == [False, False, True]
    longer = type(batch)(batch.rows, batch.conditions, (6, *LATENT_SHAPE[1:]), None)
    plain = Streamed(role, SelfForcingOptions(block=2, dmd_denoising_steps=(1000,)), (1000.0,))
    whole = plain(longer, toy_draw(step)).x_BTCHW
    torch.testing.assert_close(sample.x_BTCHW[:, 1:], whole[:, 3:])
    frame = role.decode_pixels(whole[:, :3])[:, -1:]
    torch.testing.assert_close(sample.x_BTCHW[:, :1], role.encode_pixels(frame))


def test_how_long_a_rollout_is_is_drawn_and_one_for_every_rank() -> None:
    lengths = {toy_draw(step).shared_index("extra blocks", 3) for step in range(40)}
    assert lengths == {0, 1, 2}
    assert toy_draw(3, size=1).shared_index("extra blocks", 3) == toy_draw(3, size=5).shared_index("extra blocks", 3)


# Noised clips of the data


def test_each_block_of_the_data_has_a_step_of_its_own_and_only_the_last_is_never_clean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = CausvidOptions(block=1)
    role, batch, seen = student(options, "causvid"), toy_batch(8), []
    original = ToyAdapter.predict

    def predict(adapter: ToyAdapter, modules: Any, x: Tensor, t: Tensor, *rest: Any) -> Prediction:
        seen.append((x, t))
        return original(adapter, modules, x, t, *rest)

    monkeypatch.setattr(ToyAdapter, "predict", predict)
    draw = toy_draw(1, 8)
    sample = Noised(role, options, STEPS)(batch, draw)
    ((noisy, t_BT),) = seen
    assert t_BT.shape == (8, FRAMES)
    assert {*t_BT[:, :-1].flatten().tolist()} == {*STEPS, 0.0}
    assert {*t_BT[:, -1].tolist()} <= {*STEPS}
    clean = t_BT == 0
    torch.testing.assert_close(noisy[clean], batch.latents[clean])
    torch.testing.assert_close(sample.x_BTCHW[clean], batch.latents[clean])
    pure = t_BT == 1000
    assert noisy[pure].equal(draw.normal("start", LATENT_SHAPE)[pure])


def test_where_all_blocks_are_pure_noise_the_data_do_not_matter() -> None:
    options = CausvidOptions(block=2, dmd_denoising_steps=(1000,))
    role, batch = student(options, "causvid"), toy_batch()
    step = next(
        step
        for step in range(1, 200)
        if bool((toy_draw(step).choice("step or clean", (1000.0, 0.0), count=2)[:, 0] == 1000).all())
    )
    made = Noised(role, options, (1000.0,))(batch, toy_draw(step)).x_BTCHW
    start, t_B = toy_draw(step).normal("start", LATENT_SHAPE), torch.full((3,), 1000.0, dtype=torch.float64)
    torch.testing.assert_close(made, role.predict_x0(start, t_B, batch.conditions[FAMILY], Ask(blocks=2)))
    assert flow.sigma_of(t_B, made).eq(1.0).all()
