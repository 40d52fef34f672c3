"""Conventions of other trainers that DMD2 takes on: who rests when, how the normaliser is floored, what the critic regresses onto,
where scores are compared."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.core.conftest import ToyWorld
from tests.dmd2.test_dmd2_score_timesteps import scored

from distill_core import flow
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.testing.contracts import check_method
from distill_matching.losses import critic_noise_loss, critic_velocity_loss, dmd_gradient
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.plugin import distill_register_methods


def spec() -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return registry.specs[0]


def test_a_resting_critic_takes_turns_with_the_student() -> None:
    stepped = check_method(spec(), Dmd2Options(critic_rests=True), steps=10).steps
    assert [step for step, roles in stepped.items() if "student" in roles] == [5, 10]
    assert [step for step, roles in stepped.items() if "critic" in roles] == [1, 2, 3, 4, 6, 7, 8, 9]


def test_a_critic_that_would_always_rest_is_refused() -> None:
    with pytest.raises(ValidationError, match="generator_update_interval: 1 leaves none; set it to 2 or more"):
        Dmd2Options(critic_rests=True, generator_update_interval=1)


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return ToyWorld(tmp_path_factory.mktemp("world"))


def test_schedules_count_the_updates_of_a_resting_critic(world: ToyWorld) -> None:
    mapping = world.mapping(
        "dmd2", training={"max_train_steps": 10, "lr_scheduler": "linear"}, tracking={"log_interval": 1},
        method_config={"critic_rests": True, "generator_update_interval": 5},
    )  # fmt: skip
    directory = world.train(mapping)
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    assert lines[-1]["learning_rate/critic"] == pytest.approx(1e-2 * (1 - 7 / 8))
    assert lines[-1]["learning_rate/student"] == pytest.approx(1e-2 * (1 - 1 / 2))


def test_the_floor_of_the_normaliser_by_hand() -> None:
    x, fake, real = (torch.full((1, 1, 1, 1, 2), value) for value in (3.0, 5.0, 1.0))
    # |x - real| = 2 and fake - real = 4
    assert dmd_gradient(x, fake, real, "per_sample", 1.0, "max").flatten()[0].item() == 2.0
    assert dmd_gradient(x, fake, real, "per_sample", 6.0, "max").flatten()[0].item() == pytest.approx(4 / 6)
    assert dmd_gradient(x, fake, real, "per_sample", 6.0, "sum").flatten()[0].item() == 0.5
    assert dmd_gradient(x, fake, real, "per_batch", 6.0, "sum").flatten()[0].item() == 0.5


@given(sigma=st.floats(0.01, 0.99), v=st.floats(-3, 3), x=st.floats(-3, 3), noise=st.floats(-3, 3))
def test_a_loss_in_noise_space_is_the_velocity_loss_times_the_square_of_what_is_clean(
    sigma: float, v: float, x: float, noise: float
) -> None:
    x_, noise_, v_ = (torch.full((1, 1, 1, 1, 1), value, dtype=torch.float64) for value in (x, noise, v))
    t = torch.tensor([1000.0 * sigma], dtype=torch.float64)
    noisy = flow.add_noise(x_, noise_, t)
    found = critic_noise_loss(flow.noise_of(noisy, v_, t), noise_).item()
    assert found == pytest.approx((1 - sigma) ** 2 * critic_velocity_loss(v_, x_, noise_).item(), rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("critic_loss", ["velocity", "x0", "noise"])
def test_a_critic_in_any_space_trains_itself_alone(critic_loss: str) -> None:
    check_method(spec(), Dmd2Options.model_validate({"critic_loss": critic_loss}))


def scores(**settings: object) -> torch.Tensor:
    """Timesteps of scores of steps 1 to 8."""
    ratios = {"min_timestep_ratio": 0.2, "max_timestep_ratio": 0.6, "score_floor": 0.0}
    return torch.cat([each for step in range(1, 9) for each in scored(step, **ratios, score_timesteps=settings)])


def test_bounds_are_clamped_to_or_drawn_within() -> None:
    clamped, within = scores(), scores(bounds="within")
    assert clamped.min() == 200.0
    assert clamped.max() == 600.0
    assert (clamped == 600.0).double().mean() > 0.2
    assert within.min() > 200.0
    assert within.max() < 600.0
    torch.testing.assert_close(within, 200.0 + 0.4 * scores_everywhere())


def scores_everywhere() -> torch.Tensor:
    ratios = {"min_timestep_ratio": 0.0, "max_timestep_ratio": 1.0, "score_floor": 0.0}
    return torch.cat([each for step in range(1, 9) for each in scored(step, **ratios)])


def test_scores_have_a_shift_of_their_own_beside_the_runs() -> None:
    ratios = {"min_timestep_ratio": 0.0, "max_timestep_ratio": 1.0, "score_floor": 0.0}
    by_the_run = scored(1, 8.0, **ratios)[0]
    torch.testing.assert_close(scored(1, 3.0, **ratios, score_timesteps={"shift": 8.0})[0], by_the_run)
    torch.testing.assert_close(scored(1, 3.0, **ratios, score_timesteps={"shift": 1.0})[0], scored(1, 1.0, **ratios)[0])


def test_a_logit_normal_density_of_scores_leans_where_its_mean_is() -> None:
    ratios = {"min_timestep_ratio": 0.0, "max_timestep_ratio": 1.0, "score_floor": 0.0}
    drawn = [
        torch.cat([each for step in range(1, 9) for each in scored(step, **ratios, score_timesteps=settings)])
        for settings in (
            {"density": "logit_normal", "logit_mean": 2.0, "logit_std": 0.5},
            {"density": "logit_normal", "logit_mean": -2.0, "logit_std": 0.5},
        )
    ]
    noisy, clean = (torch.logit(each / 1000.0) for each in drawn)
    assert noisy.mean().item() == pytest.approx(2.0, abs=0.15)
    assert clean.mean().item() == pytest.approx(-2.0, abs=0.15)
    assert noisy.std().item() == pytest.approx(0.5, abs=0.1)
