"""The diversity term and the ceiling of the scores: numbers by hand, who is trained, where samples are then taken and scored."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from test_dmd2_method import spec
from tests.dmd2.test_dmd2_score_timesteps import STEPS, scored

from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.diversity import diversity_loss, velocity_to
from distill_method_dmd2.method import Dmd2

WITH = Dmd2Options(
    dmd_denoising_steps=STEPS, generator_update_interval=1, diversity_weight=0.05, diversity_steps=4, diversity_anchor=1
)


def test_the_velocity_to_an_anchor_by_hand() -> None:
    # From ε = 1 at σ 1 to .4 at σ .8, a fifth of the way: v = .6 / .2, and x_.8 = ε - .2 v.
    assert velocity_to(torch.tensor(1.0), torch.tensor(0.4), 0.8).item() == pytest.approx(3.0)
    assert diversity_loss(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0])).item() == pytest.approx((1 + 4) / 2)


def test_the_method_keeps_its_contract_with_it_and_trains_the_student_by_it() -> None:
    check_method(spec(), WITH, steps=2)
    roles = toy_roles(spec(), WITH)
    losses = Dmd2(roles, WITH).losses(toy_batch(), toy_draw(1))
    next(losses)
    term = next(losses)
    term.value.backward()
    assert term.name == "diversity_loss"
    assert set(gradients(roles)) == {"student"}


def test_samples_are_matched_at_the_steps_after_the_first_with_it() -> None:
    for step in range(1, 12):
        sample = Dmd2(toy_roles(spec(), WITH), WITH).sample(toy_batch(), toy_draw(step))
        assert sample.next_B.unique().item() in {400.0, 0.0}


@pytest.mark.parametrize("steps", [(1000.0,), (999.0, 500.0)])
def test_a_student_without_a_first_step_to_hold_is_refused(steps: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="start it at 1000 with a second step"):
        Dmd2Options(dmd_denoising_steps=steps, diversity_weight=0.05)


def test_an_anchor_at_the_end_of_the_way_is_refused() -> None:
    with pytest.raises(ValidationError, match="set it below diversity_steps"):
        Dmd2Options(diversity_weight=0.05, diversity_steps=5, diversity_anchor=5)


@pytest.mark.parametrize("step", range(1, 5))
def test_a_sample_is_scored_up_to_its_own_timestep_where_that_is_asked_for(step: int) -> None:
    exit_index = toy_draw(step, 16).within("student").shared_index("exit", 3)
    floor, ceiling = (*STEPS[1:], 0.0)[exit_index], STEPS[exit_index]
    everywhere = scored(step, score_floor=0.0)[0]
    within = scored(step, score_ceiling="step")[0]
    torch.testing.assert_close(within, floor + (ceiling - floor) / 1000.0 * everywhere)
