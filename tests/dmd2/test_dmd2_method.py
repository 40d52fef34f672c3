"""Which role gets gradient when, what the rollout runs, and one whole step against numbers worked out by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from distill_core import flow
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Ask, Batch, Condition, Prediction, ValidationRequest
from distill_core.testing.contracts import FAMILY, LATENT_SHAPE, check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter, ToyText
from distill_core.training.draws import KeyedDraw
from distill_core.training.roles import RoleHandle
from distill_matching.losses import dmd_gradient, guided
from distill_matching.rollout import simulate, student_sample
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.method import Dmd2
from distill_method_dmd2.plugin import demands, distill_register_methods


def spec() -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return registry.specs[0]


OPTIONS = [
    Dmd2Options(),
    Dmd2Options(rollout="data_latent", critic_loss="x0", normalizer="none"),
    Dmd2Options(rollout_move="ode", critic_reuses_student_sample=False, normalizer="per_batch", guidance_scale=1.0),
    Dmd2Options(dmd_denoising_steps=(1000,), generator_update_interval=1),
    Dmd2Options(score_floor=0.3),
    Dmd2Options(score_floor=1.0, rollout="data_latent"),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_every_loss_reaches_its_own_role_only_and_the_teacher_stays_frozen(options: Dmd2Options) -> None:
    check_method(spec(), options, couples_rows=options.normalizer == "per_batch")


def test_critic_steps_always_and_student_on_every_fifth_step() -> None:
    stepped = check_method(spec(), Dmd2Options(), steps=10).steps
    assert [step for step, roles in stepped.items() if "student" in roles] == [5, 10]
    assert all("critic" in roles for roles in stepped.values())


def test_critic_gets_no_gradient_from_the_student_loss() -> None:
    roles = toy_roles(spec())
    method = Dmd2(roles, Dmd2Options(generator_update_interval=1))
    first = next(method.losses(toy_batch(), toy_draw(1)))
    first.value.backward()
    assert set(gradients(roles)) == {"student"}


class CountingStudent:
    """Counts the student's forwards, with and without a graph."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[tuple[int, bool]] = Counter()
        original = ToyAdapter.predict

        def counted(adapter: ToyAdapter, modules: dict[str, torch.nn.Module], *args: Any) -> Prediction:
            self.calls[id(modules["denoiser"]), torch.is_grad_enabled()] += 1
            return original(adapter, modules, *args)

        monkeypatch.setattr(ToyAdapter, "predict", counted)


@pytest.mark.parametrize("step", range(1, 9))
def test_rollout_runs_only_the_steps_up_to_the_drawn_one(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = toy_roles(spec())
    method = Dmd2(roles, Dmd2Options(generator_update_interval=1))
    draw = toy_draw(step)
    exit_index = draw.within("student").shared_index("exit", 4)
    counts = CountingStudent(monkeypatch)
    list(method.losses(toy_batch(latents=False), draw))
    denoiser = id(roles["student"].modules["denoiser"])
    assert counts.calls[denoiser, False] == exit_index
    assert counts.calls[denoiser, True] == 1


def test_exit_index_takes_every_value_and_is_the_same_for_other_rows() -> None:
    drawn = {toy_draw(step).shared_index("exit", 4) for step in range(40)}
    assert drawn == {0, 1, 2, 3}
    assert toy_draw(3, size=1).shared_index("exit", 4) == toy_draw(3, size=5).shared_index("exit", 4)


def test_reuse_saves_the_critics_own_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    def forwards(reuse: bool) -> int:
        roles = toy_roles(spec())
        method = Dmd2(roles, Dmd2Options(generator_update_interval=1, critic_reuses_student_sample=reuse))
        with monkeypatch.context() as patch:
            counts = CountingStudent(patch)
            list(method.losses(toy_batch(), toy_draw(1)))
            denoiser = id(roles["student"].modules["denoiser"])
            return counts.calls[denoiser, True] + counts.calls[denoiser, False]

    own = toy_draw(1).within("critic").shared_index("exit", 4) + 1
    assert forwards(reuse=False) == forwards(reuse=True) + own


@pytest.mark.parametrize("critic_loss", ["velocity", "x0"])
def test_both_losses_by_hand_at_one_step(critic_loss: str) -> None:
    """One denoising step at t = 1000: x = student.x0(noise); then the published formulas in the order of the paper.

    The shift of 5 and the narrow range see to it that some timesteps are shifted inside and some are clamped.
    """
    roles = toy_roles(spec())
    adapter = roles["student"].adapter
    assert isinstance(adapter, ToyAdapter)
    adapter.options = adapter.options.model_copy(update={"flow_shift": 5.0})
    options = Dmd2Options.model_validate(
        {
            "dmd_denoising_steps": (1000,),
            "generator_update_interval": 1,
            "guidance_scale": 3.0,
            "min_timestep_ratio": 0.5,
            "max_timestep_ratio": 0.9,
            "critic_loss": critic_loss,
        }
    )
    batch, draw = toy_batch(latents=False), toy_draw(1)
    losses = {loss.name: loss.value.item() for loss in Dmd2(roles, options).losses(batch, draw)}

    def score_timestep(inner: KeyedDraw) -> Tensor:
        u = inner.uniform("score_timestep", 0, 1000) / 1000
        return (1000 * 5 * u / (1 + 4 * u)).clamp(500, 900)

    inner, critic = draw.within("student"), draw.within("critic")
    drawn = torch.cat([score_timestep(inner), score_timestep(critic)])
    assert ((drawn == 500) | (drawn == 900)).any()
    assert ((drawn > 500) & (drawn < 900)).any()
    start, score = inner.normal("start", LATENT_SHAPE), inner.normal("score", LATENT_SHAPE)
    full = torch.full((3,), 1000.0, dtype=torch.float64)
    t = score_timestep(inner)
    s = (t / 1000).float().view(-1, 1, 1, 1, 1)
    with torch.no_grad():
        x = start - velocity(roles["student"], start, full, batch.conditions[FAMILY])
        noisy = (1 - s) * x + s * score
        fake = noisy - s * velocity(roles["critic"], noisy, t, batch.conditions[FAMILY])
        cond = noisy - s * velocity(roles["teacher"], noisy, t, batch.conditions[FAMILY])
        uncond = noisy - s * velocity(roles["teacher"], noisy, t, ToyText(torch.zeros(3, 4)))
        real = uncond + 3.0 * (cond - uncond)
        norm = torch.stack([(x[i] - real[i]).abs().mean() for i in range(3)]).view(-1, 1, 1, 1, 1)
        expected = 0.5 * (((fake - real) / norm) ** 2).mean()
    assert losses["student_loss"] == pytest.approx(expected.item(), rel=1e-5)

    noise = critic.normal("score", LATENT_SHAPE)
    t = score_timestep(critic)
    s = (t / 1000).float().view(-1, 1, 1, 1, 1)
    with torch.no_grad():
        noisy = (1 - s) * x + s * noise
        v = velocity(roles["critic"], noisy, t, batch.conditions[FAMILY])
    error = v - (noise - x) if critic_loss == "velocity" else noisy - s * v - x
    assert losses["critic_loss"] == pytest.approx((error**2).mean().item(), rel=1e-5)


def test_data_latent_noises_each_sample_to_a_step_of_its_own() -> None:
    roles, batch = toy_roles(spec()), toy_batch(16)
    draw = toy_draw(1, 16)
    steps, after = (1000.0, 750.0, 500.0, 250.0), {1000.0: 750.0, 750.0: 500.0, 500.0: 250.0, 250.0: 0.0}
    sample = student_sample(roles["student"], batch, draw, steps, from_data=True, move="sde", attn_kind="dense")
    t = draw.choice("step", steps)
    assert len(set(t.tolist())) == 4
    assert sample.next_B.tolist() == [after[step] for step in t.tolist()]
    s = (t / 1000).float().view(-1, 1, 1, 1, 1)
    noisy = (1 - s) * batch.latents + s * draw.normal("start", LATENT_SHAPE)
    torch.testing.assert_close(
        sample.x_BTCHW, noisy - s * velocity(roles["student"], noisy, t, batch.conditions[FAMILY])
    )


def test_the_students_attention_is_asked_for_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[tuple[str, str]] = Counter()
    roles = toy_roles(spec())
    names = {id(role.modules["denoiser"]): name for name, role in roles.items()}
    original = ToyAdapter.predict

    def watched(adapter: ToyAdapter, modules: dict[str, torch.nn.Module], *args: Any) -> Prediction:
        asked[names[id(modules["denoiser"])], args[-1].attn_kind] += 1
        return original(adapter, modules, *args)

    monkeypatch.setattr(ToyAdapter, "predict", watched)
    method = Dmd2(roles, Dmd2Options(generator_update_interval=1, attn_kind="vsa"))
    for step in range(1, 6):
        list(method.losses(toy_batch(), toy_draw(step)))
    assert {key for key in asked if key[0] == "student"} == {("student", "vsa")}
    assert {key[1] for key in asked if key[0] != "student"} == {"dense"}
    assert asked["student", "vsa"] > 5, "the rollout's own steps are among them"


def velocity(role: RoleHandle, x: Tensor, t: Tensor, text: Condition) -> Tensor:
    """The toy denoiser, called past the role."""
    return role.adapter.predict(role.modules, x, t, text, Ask()).velocity


def test_ode_move_keeps_the_implied_noise() -> None:
    x0, noise = torch.tensor(2.0), torch.tensor(-1.0)
    here, there = torch.tensor([800.0], dtype=torch.float64), torch.tensor([300.0], dtype=torch.float64)
    x = (0.2 * x0 + 0.8 * noise).view(1, 1, 1, 1, 1)
    moved = flow.move(x, x0.view(1, 1, 1, 1, 1), here, there)
    assert moved.item() == pytest.approx(0.7 * 2.0 + 0.3 * -1.0)


def test_sde_and_ode_rollouts_end_where_the_definitions_say() -> None:
    roles, batch, draw = toy_roles(spec()), toy_batch(latents=False), toy_draw(4)
    student = roles["student"]
    full = torch.full((3,), 1000.0, dtype=torch.float64)
    start = draw.normal("start", LATENT_SHAPE)
    with torch.no_grad():
        x0 = start - velocity(student, start, full, batch.conditions[FAMILY])
    sde = simulate(student, batch, draw, (1000.0, 500.0), move="sde", attn_kind="dense")
    ode = simulate(student, batch, draw, (1000.0, 500.0), move="ode", attn_kind="dense")
    torch.testing.assert_close(sde, 0.5 * x0 + 0.5 * draw.normal("renoise/0", LATENT_SHAPE))
    torch.testing.assert_close(ode, 0.5 * x0 + 0.5 * start)


def test_data_latent_needs_latents_and_simulate_does_not() -> None:
    assert demands(Dmd2Options(rollout="data_latent")).latents
    assert not demands(Dmd2Options()).latents


def test_validation_samples_the_student_in_its_own_steps_without_guidance() -> None:
    method = Dmd2(toy_roles(spec()), Dmd2Options(dmd_denoising_steps=(1000, 500, 0), rollout_move="ode"))
    assert method.validation(1) == ValidationRequest(
        role="student", sampler="ode", timesteps=(1000.0, 500.0), guidance_scale=1.0
    )


def test_warp_applies_the_flow_shift_to_training_and_sampling() -> None:
    roles = toy_roles(spec())
    adapter = roles["student"].adapter
    assert isinstance(adapter, ToyAdapter)
    adapter.options = adapter.options.model_copy(update={"flow_shift": 5.0})
    method = Dmd2(roles, Dmd2Options(dmd_denoising_steps=(1000, 750, 500, 250), warp_denoising_steps=True))
    assert method.steps == pytest.approx((1000.0, 937.5, 833.3333, 625.0))
    assert method.validation(1).timesteps == method.steps


def test_student_graph_is_freed_before_the_critic_runs() -> None:
    """Staged losses: when the critic's loss is made, nothing of the student's graph is alive."""
    roles = toy_roles(spec())
    method = Dmd2(roles, Dmd2Options(generator_update_interval=1))
    alive: set[int] = set()

    def pack(tensor: Tensor) -> Holder:
        return Holder(tensor, alive)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.tensor):
        losses: Iterator[object] = method.losses(toy_batch(), toy_draw(1))
        first = next(losses)
        peak_of_student = len(alive)
        first.value.backward()  # type: ignore[attr-defined]
        del first
        assert peak_of_student > 0
        assert not alive


class Holder:
    """A saved tensor that says when it is let go."""

    def __init__(self, tensor: Tensor, alive: set[int]) -> None:
        self.tensor, self.alive = tensor, alive
        alive.add(id(self))

    def __del__(self) -> None:
        self.alive.discard(id(self))


def test_guidance_of_one_runs_the_teacher_once(monkeypatch: pytest.MonkeyPatch) -> None:
    roles = toy_roles(spec())
    counts = CountingStudent(monkeypatch)
    method = Dmd2(roles, Dmd2Options(generator_update_interval=1, guidance_scale=1.0))
    list(method.losses(toy_batch(), toy_draw(1)))
    assert counts.calls[id(roles["teacher"].modules["denoiser"]), False] == 1


def test_batch_without_latents_is_refused_by_name() -> None:
    from distill_core.errors import DataError

    batch: Batch = toy_batch(latents=False)
    with pytest.raises(DataError, match="captions only"):
        _ = batch.latents


def test_gradient_helpers_agree_with_each_other() -> None:
    x = torch.ones(1, 1, 1, 1, 2)
    real = guided(x * 2, x, 1.0)
    torch.testing.assert_close(dmd_gradient(x, real, real), torch.zeros_like(x))
