"""The regression onto the teacher's samples: the flow it follows, against hand-worked numbers; when it comes, and whom it trains."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from pydantic import ValidationError
from test_dmd2_method import spec
from torch import Tensor

from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_matching.teacher_walk import teacher_sample
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.method import Dmd2
from distill_method_dmd2.regression import regression_loss

WITH = Dmd2Options(generator_update_interval=1, regression_weight=0.5, regression_interval=2)


class LinearTeacher:
    """Predicts x0 = a · x, and b · x without a caption: every Euler step is a number."""

    guides_at_once = False

    def predict_x0(self, noisy_BTCHW: Tensor, timestep_B: Tensor, text: str, **_: object) -> Tensor:
        return noisy_BTCHW * (0.5 if text == "caption" else 0.25)

    def predict_velocity(self, noisy_BTCHW: Tensor, timestep_B: Tensor, text: str, *_: object, **__: object) -> Tensor:
        x0_BTCHW = self.predict_x0(noisy_BTCHW, timestep_B, text)
        return (noisy_BTCHW - x0_BTCHW) * (1000.0 / timestep_B.item())

    def unconditional(self, condition: str) -> str:
        return "negative"


def sampled(grid: Sequence[float], scale: float) -> float:
    noise = torch.full((1, 1, 1, 1, 1), 8.0)
    return teacher_sample(LinearTeacher(), noise, "caption", grid, scale).item()


def test_the_teachers_flow_by_hand() -> None:
    # x = 8 at σ 1: x̂0 = 4, so x at σ .5 is .5·4 + .5·8 = 6. There x̂0 = 3, and σ = 0 gives x̂0.
    assert sampled([1000.0, 500.0, 0.0], 1.0) == pytest.approx(3.0)


def test_the_guided_flow_by_hand() -> None:
    # Guidance 2: x̂0 = .25x + 2 (.5x - .25x) = .75x. 8 → .5·6 + .5·8 = 7 → 5.25.
    assert sampled([1000.0, 500.0, 0.0], 2.0) == pytest.approx(5.25)


def test_the_loss_by_hand() -> None:
    assert regression_loss(torch.tensor([1.0, 4.0]), torch.tensor([0.0, 2.0])).item() == pytest.approx((1 + 4) / 2)


def test_it_comes_with_every_second_update_of_the_student_and_trains_the_student_alone() -> None:
    roles = toy_roles(spec())
    method = Dmd2(roles, WITH)
    names = [[loss.name for loss in method.losses(toy_batch(), toy_draw(step))] for step in (1, 2)]
    assert names == [["student_loss", "critic_loss"], ["student_loss", "regression_loss", "critic_loss"]]
    loss = next(loss for loss in method.losses(toy_batch(), toy_draw(2)) if loss.name == "regression_loss")
    loss.value.backward()
    assert set(gradients(roles)) == {"student"}


def test_its_weight_scales_the_loss_and_not_the_logged_error() -> None:
    found = {}
    for weight in (0.5, 2.0):
        method = Dmd2(toy_roles(spec()), WITH.model_copy(update={"regression_weight": weight}))
        loss = next(loss for loss in method.losses(toy_batch(), toy_draw(2)) if loss.name == "regression_loss")
        found[weight] = (loss.value.item(), loss.metrics["regression_error"].item())
    assert found[2.0][0] == pytest.approx(4 * found[0.5][0])
    assert found[2.0][1] == pytest.approx(found[0.5][1])
    assert found[0.5][0] == pytest.approx(0.5 * found[0.5][1])


def test_the_method_keeps_its_contract_with_it() -> None:
    check_method(spec(), WITH)


def test_a_student_that_does_not_start_from_noise_is_refused() -> None:
    with pytest.raises(ValidationError, match="starts at 750; start it at 1000"):
        Dmd2Options(rollout="data_latent", dmd_denoising_steps=(750.0, 250.0), regression_weight=1.0)
