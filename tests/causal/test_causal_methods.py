"""The causal methods on toy models: the contract, one loss of each by hand, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from distill_core import flow
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Ask, Batch
from distill_core.testing.contracts import FAMILY, LATENT_SHAPE, check_method, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter, ToyText
from distill_core.training.roles import RoleHandle
from distill_method_causal.config import (
    CausalConsistencyOptions,
    CausalKdOptions,
    CausalOptions,
    ForcingOptions,
    TeacherForcingOptions,
)
from distill_method_causal.consistency import CausalConsistency
from distill_method_causal.forcing import DiffusionForcing, TeacherForcing
from distill_method_causal.kd import CausalKd
from distill_method_causal.paths import PathMaker, teacher_paths
from distill_method_causal.plugin import distill_register_methods

FRAMES = LATENT_SHAPE[0]


def spec(name: str) -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return next(each for each in registry.specs if each.name == name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("diffusion-forcing", ForcingOptions()),
        ("diffusion-forcing", ForcingOptions(block=1, density="logit_normal", loss_weighting="bell")),
        ("teacher-forcing", TeacherForcingOptions(block=2)),
        ("teacher-forcing", TeacherForcingOptions(block=1, context_noise=200.0, caption_dropout=0.0)),
        ("causal-kd", CausalKdOptions(teacher_steps=2)),
        ("causal-kd", CausalKdOptions(trajectories="stored", denoising_steps=(1000, 0))),
        (
            "causal-kd",
            CausalKdOptions(teacher_steps=2, denoising_steps=(1000, 0), clean_blocks=False, guidance_scale=1),
        ),
        ("causal-consistency", CausalConsistencyOptions(block=2, ema_start_step=2)),
        ("causal-consistency", CausalConsistencyOptions(ema_start_step=2, last_interval=False, intervals=4)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_keeps_the_contract(name: str, options: CausalOptions) -> None:
    stepped = check_method(spec(name), options, steps=3).steps
    assert set(stepped.values()) == {("student",)}


def shifted(roles: dict[str, RoleHandle], shift: float) -> None:
    """Give the toy family a flow shift."""
    adapter = roles["student"].adapter
    assert isinstance(adapter, ToyAdapter)
    adapter.options = adapter.options.model_copy(update={"flow_shift": shift})


def only(method: Any, batch: Batch, step: int = 1) -> float:
    (loss,) = method.losses(batch, toy_draw(step))
    value: float = loss.value.item()
    return value


def velocity(role: RoleHandle, x: Tensor, t: Tensor, ask: Ask, text: Any = None) -> Tensor:
    """A role's own velocity, past the method."""
    condition = toy_batch().conditions[FAMILY] if text is None else text
    return role.adapter.predict(role.modules, x, t, condition, ask).velocity


def test_diffusion_forcing_by_hand_with_the_shift_and_the_bell() -> None:
    roles, batch, draw = toy_roles(spec("diffusion-forcing")), toy_batch(), toy_draw(1)
    shifted(roles, 3.0)
    options = ForcingOptions(
        block=3, caption_dropout=0.0, loss_weighting="bell", min_timestep_ratio=0.2, max_timestep_ratio=0.9
    )
    u_B2 = 0.2 + 0.7 * draw.uniform("timestep", count=2)
    t_B2 = 1000 * 3 * u_B2 / (1 + 2 * u_B2)
    t_BT = torch.stack([t_B2[:, 0], t_B2[:, 0], t_B2[:, 0], t_B2[:, 1]], dim=1)
    sigma, noise = (t_BT / 1000).float()[:, :, None, None, None], draw.normal_like("noise", batch.latents)
    v = velocity(roles["student"], (1 - sigma) * batch.latents + sigma * noise, t_BT, Ask(blocks=3))
    k = 1 - torch.arange(1000, dtype=torch.float64) / 1000
    y = torch.exp(-2 * ((1000 * 3 * k / (1 + 2 * k) - 500) / 1000) ** 2)
    w_BT = (torch.exp(-2 * ((t_BT - 500) / 1000) ** 2) - y.min()) / (y - y.min()).mean()
    expected = (w_BT.float() * ((v - (noise - batch.latents)) ** 2).mean((2, 3, 4))).mean()
    assert only(DiffusionForcing(roles, options), batch) == pytest.approx(expected.item(), rel=1e-5)


def test_one_level_and_one_block_of_all_frames_is_ordinary_flow_matching(monkeypatch: pytest.MonkeyPatch) -> None:
    roles, batch, draw = toy_roles(spec("diffusion-forcing")), toy_batch(), toy_draw(1)
    options = ForcingOptions(block=FRAMES, caption_dropout=0.0)
    t_B = 1000 * draw.uniform("timestep", count=1)[:, 0]
    noise = draw.normal_like("noise", batch.latents)
    v = velocity(roles["student"], flow.add_noise(batch.latents, noise, t_B), t_B, Ask())
    expected = ((v - (noise - batch.latents)) ** 2).mean().item()
    assert only(DiffusionForcing(roles, options), batch) == pytest.approx(expected, rel=1e-6)


def test_teacher_forcing_by_hand_and_its_context_has_a_noise_of_its_own() -> None:
    roles, batch, draw = toy_roles(spec("teacher-forcing")), toy_batch(), toy_draw(1)
    options = TeacherForcingOptions(block=2, caption_dropout=0.0, context_noise=300.0)
    t_BT = (1000 * draw.uniform("timestep", count=2)).repeat_interleave(2, 1)
    noise, inner = draw.normal_like("noise", batch.latents), draw.within("context")
    own = inner.normal_like("noise", batch.latents)
    assert not own.equal(noise)
    aside = flow.add_noise(batch.latents, own, inner.uniform("timestep", 0, 300, count=2).repeat_interleave(2, 1))
    ask = Ask(blocks=2, clean=aside)
    v = velocity(roles["student"], flow.add_noise(batch.latents, noise, t_BT), t_BT, ask)
    expected = ((v - (noise - batch.latents)) ** 2).mean().item()
    assert only(TeacherForcing(roles, options), batch) == pytest.approx(expected, rel=1e-5)


def constant(monkeypatch: pytest.MonkeyPatch, c: dict[int, float]) -> None:
    """Let each toy denoiser predict a velocity of its own everywhere, whatever it is asked."""
    original = ToyAdapter.predict

    def predict(adapter: ToyAdapter, modules: Any, x: Tensor, *rest: Any) -> Any:
        made = original(adapter, modules, x, *rest)
        return type(made)(torch.full_like(x, c[id(modules["denoiser"])]))

    monkeypatch.setattr(ToyAdapter, "predict", predict)


def test_states_of_a_constant_velocity_lie_on_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = toy_roles(spec("causal-kd"))["teacher"]
    constant(monkeypatch, {id(teacher.modules["denoiser"]): 0.7})
    options = CausalKdOptions(denoising_steps=(1000, 750, 250), teacher_steps=5)
    draw = toy_draw(1)
    path = teacher_paths(teacher, options, toy_batch(latents=False), draw)
    start = draw.normal("start", LATENT_SHAPE)
    for state, sigma in zip(path.unbind(1), (1.0, 0.75, 0.25, 0.0), strict=True):
        torch.testing.assert_close(state, start - (1 - sigma) * 0.7)


def test_stored_paths_train_as_those_that_are_made_and_need_no_teacher() -> None:
    roles, batch, draw = toy_roles(spec("causal-kd")), toy_batch(latents=False), toy_draw(1)
    options = CausalKdOptions(block=2, teacher_steps=3)
    made = PathMaker(roles, options).make(batch, draw)
    stored = replace(batch, tensors=made)
    without = {"student": roles["student"]}
    theirs = CausalKdOptions(block=2, teacher_steps=3, trajectories="stored")
    assert only(CausalKd(without, theirs), stored) == only(CausalKd(roles, options), batch)
    demands = spec("causal-kd").demands(theirs)
    assert demands.roles is not None
    assert demands.roles["teacher"].optional
    assert demands.columns[0].made_with == {
        "teacher_steps": 3, "guidance_scale": 5.0, "stored_steps": [1000, 750, 500, 250], "warp_denoising_steps": False
    }  # fmt: skip


@pytest.mark.parametrize("d", [0.0, 0.5])
def test_causal_kd_of_a_student_that_errs_by_a_constant(monkeypatch: pytest.MonkeyPatch, d: float) -> None:
    """Teacher v = c, student v = c + d: each noisy frame errs by σ d; clean ones are left out."""
    roles = toy_roles(spec("causal-kd"))
    constant(
        monkeypatch, {id(roles["teacher"].modules["denoiser"]): 0.7, id(roles["student"].modules["denoiser"]): 0.7 + d}
    )
    method, draw = CausalKd(roles, CausalKdOptions(block=1, teacher_steps=4)), toy_draw(1)
    sigmas = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])[method._states_drawn(toy_batch(), draw)]
    assert (sigmas == 0).any(), "some block is clean"
    assert (sigmas[:, -1] > 0).all(), "and never the last"
    expected = ((sigmas * d) ** 2).sum(1) / (sigmas > 0).sum(1)
    assert only(method, toy_batch(latents=False)) == pytest.approx(expected.mean().item(), abs=1e-6)


def test_consistency_is_no_loss_where_the_path_is_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three predict v = c: x̂0 of both points is x - σ c of one line."""
    roles = toy_roles(spec("causal-consistency"))
    constant(monkeypatch, {id(role.modules["denoiser"]): 0.7 for role in roles.values()})
    assert only(CausalConsistency(roles, CausalConsistencyOptions(block=2)), toy_batch()) == pytest.approx(
        0.0, abs=1e-9
    )


def test_consistency_by_hand_on_the_table_of_48_intervals_shifted_by_5() -> None:
    roles, batch, draw = toy_roles(spec("causal-consistency")), toy_batch(), toy_draw(1)
    shifted(roles, 5.0)
    options = CausalConsistencyOptions(block=2, guidance_scale=3.0)
    u = 1 - torch.arange(49, dtype=torch.float64) / 48
    table = 1000 * 5 * u / (1 + 4 * u)
    assert [round(t, 1) for t in table.tolist()][:3] == [1000.0, 995.8, 991.4]
    assert [round(t, 1) for t in table.tolist()][-4:] == [250.0, 178.6, 96.2, 0.0]
    index = draw.choice("interval", range(48)).long()
    t, r, noise, ask = (
        table[index],
        table[index + 1],
        draw.normal_like("noise", batch.latents),
        Ask(blocks=2, clean=batch.latents),
    )
    x = flow.add_noise(batch.latents, noise, t)
    cond = velocity(roles["teacher"], x, t, ask)
    uncond = velocity(roles["teacher"], x, t, ask, ToyText(torch.zeros(3, 4)))
    nearer = flow.euler_step(x, uncond + 3.0 * (cond - uncond), t, r)
    target = flow.x0_of(nearer, velocity(roles["target"], nearer, r, ask), r)
    guess = flow.x0_of(x, velocity(roles["student"], x, t, ask), t)
    expected = ((guess - target) ** 2).mean().item()
    assert only(CausalConsistency(roles, options), batch) == pytest.approx(expected, rel=1e-5)


def test_the_interval_that_ends_in_the_data_is_drawn_unless_it_is_left_out() -> None:
    ends = {
        last: {int(index) for step in range(60) for index in toy_draw(step).choice("interval", range(4 if last else 3))}
        for last in (True, False)
    }
    assert ends == {True: {0, 1, 2, 3}, False: {0, 1, 2}}


def test_the_target_stands_still_until_its_first_step() -> None:
    options = CausalConsistencyOptions()
    assert [options.keeps(step)["target"] for step in (1, 199, 200, 201)] == [1.0, 1.0, 0.99, 0.99]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CausalKdOptions(denoising_steps=(999.0, 500.0)), "start at 1000"),
        (lambda: CausalKdOptions(denoising_steps=(1.0, 0.5)), "did you mean"),
        (lambda: CausalConsistencyOptions(denoising_steps=(250.0, 500.0)), "descend strictly"),
        (lambda: ForcingOptions(min_timestep_ratio=0.5, max_timestep_ratio=0.5), "must be below"),
    ],
)
def test_options_that_contradict_each_other_are_refused_with_the_remedy(make: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


@pytest.mark.parametrize("name", ["diffusion-forcing", "teacher-forcing", "causal-kd", "causal-consistency"])
def test_a_student_is_sampled_block_by_block(name: str) -> None:
    chosen = spec(name).options(block=2)
    request = spec(name).sampling(chosen, lambda timestep: timestep)
    assert request is not None
    assert (request.role, request.blocks) == ("student", 2)
    assert spec(name).demands(chosen).least_frames == 3
