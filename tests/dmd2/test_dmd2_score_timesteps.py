"""Where scores are compared: everywhere, or from a share of the timestep at which the next step starts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.testing.contracts import toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter
from distill_core.training import draws
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.method import Dmd2
from distill_method_dmd2.plugin import distill_register_methods

STEPS, NEXT = (1000.0, 700.0, 400.0), (700.0, 400.0, 0.0)
SIZE = 16


def scored(step: int, flow_shift: float = 1.0, **changes: object) -> list[Tensor]:
    """The timesteps at which the critic is asked in one training step: first for the student's loss, then for its own. [B] each."""
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    roles = toy_roles(registry.specs[0])
    adapter = roles["student"].adapter
    assert isinstance(adapter, ToyAdapter)
    adapter.options = adapter.options.model_copy(update={"flow_shift": flow_shift})
    asked: list[Tensor] = []
    denoiser = roles["critic"].modules["denoiser"]
    denoiser.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[2][:, 0].double() * 1000.0))
    options = {
        "dmd_denoising_steps": STEPS,
        "generator_update_interval": 1,
        "score_floor": 1.0,
        "min_timestep_ratio": 0.0,
        "max_timestep_ratio": 1.0,
        **changes,
    }
    list(Dmd2(roles, Dmd2Options.model_validate(options)).losses(toy_batch(SIZE), toy_draw(step, SIZE)))
    assert len(asked) == 2
    return asked


@pytest.mark.parametrize("step", range(1, 9))
def test_a_simulated_sample_is_scored_from_where_the_next_step_starts(step: int) -> None:
    floor = NEXT[toy_draw(step, SIZE).within("student").shared_index("exit", 3)]
    everywhere = scored(step, score_floor=0.0)
    for squeezed, uniform in zip(scored(step), everywhere, strict=True):
        torch.testing.assert_close(squeezed, floor + (1 - floor / 1000) * uniform)
        assert squeezed.min() >= floor
        assert uniform.min() < 400, "else the test could not tell the two apart"


def test_every_step_is_drawn_by_some_of_these_training_steps() -> None:
    drawn = {toy_draw(step, SIZE).within("student").shared_index("exit", 3) for step in range(1, 9)}
    assert drawn == {0, 1, 2}


def test_noised_data_is_scored_from_where_each_samples_own_next_step_starts() -> None:
    next_B = toy_draw(1, SIZE).within("student").choice("step", NEXT)
    assert set(next_B.tolist()) == set(NEXT)
    everywhere = scored(1, rollout="data_latent", score_floor=0.0)
    for squeezed, uniform in zip(scored(1, rollout="data_latent"), everywhere, strict=True):
        torch.testing.assert_close(squeezed, next_B + (1 - next_B / 1000) * uniform)


def test_a_critics_own_rollout_is_scored_from_its_own_next_step() -> None:
    """The two rollouts of a step can exit at different steps; a step at which they do is found first."""

    def exits(step: int) -> tuple[int, int]:
        student, critic = (toy_draw(step, SIZE).within(role).shared_index("exit", 3) for role in ("student", "critic"))
        return student, critic

    step = next(step for step in range(1, 50) if exits(step) == (0, 1))
    for_student, for_critic = scored(step, critic_reuses_student_sample=False)
    assert for_student.min() >= 700
    assert 400 <= for_critic.min() < 700


def test_the_flow_shift_comes_before_the_squeeze_and_the_clamp_after_it() -> None:
    step = next(step for step in range(1, 50) if toy_draw(step).within("student").shared_index("exit", 3) == 1)
    u = scored(step, score_floor=0.0)[0] / 1000
    shifted = 3 * u / (1 + 2 * u)
    squeezed = scored(step, flow_shift=3.0)[0]
    torch.testing.assert_close(squeezed, 1000 * (0.4 + 0.6 * shifted))
    clamped = scored(step, flow_shift=3.0, min_timestep_ratio=0.6, max_timestep_ratio=0.8)[0]
    torch.testing.assert_close(clamped, squeezed.clamp(600, 800))
    assert len(set(clamped.tolist())) > 2


def test_one_step_has_no_next_and_is_scored_everywhere() -> None:
    one = {"dmd_denoising_steps": (1000.0, 0.0)}
    for squeezed, uniform in zip(scored(1, **one), scored(1, score_floor=0.0, **one), strict=True):
        assert torch.equal(squeezed, uniform)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_of_the_next_steps_timestep_is_the_floor(share: float) -> None:
    step = next(step for step in range(1, 50) if toy_draw(step).within("student").shared_index("exit", 3) == 0)
    everywhere = scored(step, score_floor=0.0)[0]
    torch.testing.assert_close(scored(step, score_floor=share)[0], 700 * share + (1 - 0.7 * share) * everywhere)


@pytest.mark.parametrize("from_data", [False, True])
def test_timesteps_stay_in_host_memory_whatever_the_device_of_the_run(
    from_data: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that looks at them (which expert, guided or not) need not wait: nothing that was drawn uniformly is handed to a device."""
    monkeypatch.setattr(draws, "to_device", lambda *_: pytest.fail("a timestep left the host"))
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    roles = toy_roles(registry.specs[0])
    options = {"rollout": "data_latent" if from_data else "simulate", "generator_update_interval": 1}
    losses = Dmd2(roles, Dmd2Options.model_validate(options)).losses(toy_batch(SIZE), toy_draw(1, SIZE))
    assert [loss.name for loss in losses] == ["student_loss", "critic_loss"]
