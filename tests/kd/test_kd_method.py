"""Knowledge distillation on toy models and against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_core import flow
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Prediction
from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter
from distill_core.training.roles import RoleHandle
from distill_method_kd.config import KdOptions
from distill_method_kd.method import Kd
from distill_method_kd.paths import teacher_paths
from distill_method_kd.plugin import distill_register_methods

FEW = {"teacher_steps": 4, "guidance_scale": 2.0}


def spec() -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return registry.specs[0]


def options(**given: object) -> KdOptions:
    return KdOptions.model_validate({**FEW, **given})


def constant(role: RoleHandle, velocity: float) -> None:
    """Make a toy model's velocity the same everywhere."""
    with torch.no_grad():
        for parameter in role.container.parameters():
            parameter.zero_()
        role.modules["denoiser"].layers[2].bias.fill_(velocity)


def shifted(roles: dict[str, RoleHandle], shift: float) -> None:
    """Give each role's adapter a flow shift."""
    for role in roles.values():
        assert isinstance(role.adapter, ToyAdapter)
        role.adapter.options = role.adapter.options.model_copy(update={"flow_shift": shift})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"denoising_steps": (1000,)},
        {"loss": "chain", "denoising_steps": (1000, 500)},
        {"guidance_scale": 1.0},
        {"trajectories": "stored"},
    ],
)
def test_the_student_alone_is_trained_on_every_step(given: dict[str, object]) -> None:
    stepped = check_method(spec(), options(**given), steps=3).steps
    assert set(stepped.values()) == {("student",)}


def test_paths_of_a_constant_velocity_are_straight() -> None:
    """v = c: the state at σ is x1 - (1 - σ) c, the end x1 - c."""
    roles, batch, draw = toy_roles(spec()), toy_batch(), toy_draw(1)
    constant(roles["teacher"], 0.7)
    path = teacher_paths(roles["teacher"], options(), batch, draw)
    noise = draw.normal("start", batch.latent_shape)
    for state, sigma in zip(path.unbind(1), (1.0, 0.75, 0.5, 0.25, 0.0), strict=True):
        torch.testing.assert_close(state, noise - (1 - sigma) * 0.7)


@pytest.mark.parametrize("loss", ["states", "chain"])
def test_a_student_with_the_teachers_constant_velocity_has_no_loss(loss: str) -> None:
    roles = toy_roles(spec())
    for role in roles.values():
        constant(role, 0.7)
    (found,) = Kd(roles, options(loss=loss)).losses(toy_batch(), toy_draw(1))
    assert found.value.item() == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize(("steps", "sigma"), [((1000,), 1.0), ((1000, 500), None)])
def test_a_velocity_that_is_off_by_d_costs_half_of_sigma_d_squared(
    steps: tuple[float, ...], sigma: float | None
) -> None:
    """½ mean (σ d)²: .125 for d = ½ at σ = 1."""
    roles, batch, draw = toy_roles(spec()), toy_batch(), toy_draw(1)
    constant(roles["teacher"], 0.7)
    constant(roles["student"], 1.2)
    (found,) = Kd(roles, options(denoising_steps=steps)).losses(batch, draw)
    drawn = [1.0] * 3 if sigma else [(1.0, 0.5)[int(place)] for place in draw.choice("state", (0, 1))]
    assert found.value.item() == pytest.approx(sum(0.5 * (s * 0.5) ** 2 for s in drawn) / 3, rel=1e-5)
    if sigma:
        assert found.value.item() == pytest.approx(0.125, rel=1e-5)


def test_a_chain_that_is_off_by_d_ends_off_by_d_whatever_its_steps() -> None:
    roles = toy_roles(spec())
    constant(roles["teacher"], 0.7)
    constant(roles["student"], 1.2)
    (found,) = Kd(roles, options(loss="chain", denoising_steps=(1000, 600, 100))).losses(toy_batch(), toy_draw(1))
    assert found.value.item() == pytest.approx(0.125, rel=1e-5)


def test_a_chain_has_one_graph_through_all_of_its_steps() -> None:
    """Only the first of two steps sees the noise where the second's velocity is constant: its gradient comes through the second."""
    roles = toy_roles(spec())
    (found,) = Kd(roles, options(loss="chain", denoising_steps=(1000, 500))).losses(toy_batch(), toy_draw(1))
    found.value.backward()
    whole = gradients(roles)["student"]
    path = teacher_paths(roles["teacher"], options(denoising_steps=(1000, 500)), toy_batch(), toy_draw(1))
    student, batch = roles["student"], toy_batch()
    condition = batch.condition_of(student)
    x, t, r = path[:, 0], flow.timestep_of(1000, path), flow.timestep_of(500, path)
    with torch.no_grad():
        half = flow.euler_step(x, student.predict_velocity(x, t, condition), t, r)
    end = student.predict_x0(half, r, condition)
    (0.5 * ((end - path[:, -1]) ** 2).mean()).backward()
    cut = gradients(roles)["student"]
    assert not torch.allclose(whole, cut, rtol=1e-2)


@pytest.mark.parametrize("steps", [(1000.0, 999.0, 624.0), (1000.0, 937.5, 625.0)])
def test_a_path_passes_through_the_students_timesteps_to_the_bit_also_off_the_teachers_grid(
    steps: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere [999, 624] is refused once the whole cache is built: 48 steps at shift 5 pass through 937.5 and 625, not through those."""
    asked: list[float] = []
    roles, batch = toy_roles(spec()), toy_batch(1)
    shifted(roles, 5.0)
    original = ToyAdapter.predict

    def watched(
        adapter: ToyAdapter, modules: Mapping[str, nn.Module], x: Tensor, t_B: Tensor, *rest: Any
    ) -> Prediction:
        asked.append(t_B.item())
        return original(adapter, modules, x, t_B, *rest)

    monkeypatch.setattr(ToyAdapter, "predict", watched)
    teacher_paths(
        roles["teacher"], options(teacher_steps=48, guidance_scale=1.0, denoising_steps=steps), batch, toy_draw(1, 1)
    )
    assert set(steps) <= set(asked)
    assert asked == sorted(asked, reverse=True)
    assert len(asked) == (48 if 625.0 in steps else 50)


def test_guidance_is_of_the_teacher_alone_and_the_student_is_sampled_without() -> None:
    roles, batch, draw = toy_roles(spec()), toy_batch(), toy_draw(1)
    once = options(teacher_steps=1, denoising_steps=(1000,), guidance_scale=3.0)
    path = teacher_paths(roles["teacher"], once, batch, draw)
    teacher, x = roles["teacher"], path[:, 0]
    t, condition = flow.timestep_of(1000, x), batch.condition_of(teacher)
    cond, uncond = (teacher.predict_velocity(x, t, each) for each in (condition, teacher.unconditional(condition)))
    torch.testing.assert_close(path[:, 1], x - (uncond + 3.0 * (cond - uncond)))
    request = Kd(roles, once).validation(1)
    assert (request.sampler, request.timesteps, request.guidance_scale) == ("ode", (1000.0,), 1.0)


def test_warped_steps_are_shifted_as_the_run_is() -> None:
    roles = toy_roles(spec())
    shifted(roles, 5.0)
    request = Kd(roles, options(warp_denoising_steps=True)).validation(1)
    assert request.timesteps == pytest.approx((1000.0, 937.5, 833.333333, 625.0))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"denoising_steps": (999, 750)}, "begin with 1000"),
        ({"denoising_steps": (1.0, 0.5)}, "did you mean × 1000"),
        ({"denoising_steps": (1000, 1000)}, "descend strictly"),
        ({"stored_steps": (1000, 500)}, "set trajectories: stored"),
        ({"trajectories": "stored", "stored_steps": (1000, 500)}, r"set stored_steps: \[1000.0, 750.0, 500.0, 250.0\]"),
        ({"guidance_scale": -1}, "greater than or equal to 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        options(**given)
