"""The guided teacher: which samples are guided, by how much, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distill_core.errors import ConfigError
from distill_core.protocols import Ask, Condition, Prediction
from distill_core.testing.toy import ToyText
from distill_matching.guidance import Guidance
from distill_matching.options import ScoringOptions

COND, UNCOND = 2.0, 0.5


class Teacher:
    """A role whose x̂0 is :data:`UNCOND` at σ = 1, and that remembers how many samples it was asked for, and which."""

    def __init__(self, boundary: float | None = None, *, elsewhere: bool = False) -> None:
        self.boundary = boundary
        self.elsewhere = elsewhere
        self.asked: list[list[float]] = []

    def anywhere(self, wanted: bool) -> bool:
        return wanted or self.elsewhere

    def unconditional(self, condition: Condition) -> Condition:
        return ToyText(torch.zeros(len(condition), 4))

    def predict_velocity(
        self, noisy: Tensor, timestep_B: Tensor, condition: Condition, *, input_gradients: bool
    ) -> Tensor:
        assert len(noisy) == len(timestep_B) == len(condition)
        self.asked.append(timestep_B.tolist())
        return noisy - UNCOND


def one(noisy: Tensor) -> Tensor:
    """σ = 1 of each sample."""
    return torch.ones_like(noisy[:, :1, :1, :1, :1])


def guided(teacher: Any, timesteps: list[float], **options: Any) -> list[float]:
    size = len(timesteps)
    guidance = Guidance(teacher, ScoringOptions.model_validate(options))
    cond, noisy = torch.full((size, 1, 1, 1, 1), COND), torch.zeros(size, 1, 1, 1, 1)
    times = torch.tensor(timesteps, dtype=torch.float64)
    found = guidance.guided(cond, noisy, times, ToyText(torch.ones(size, 4)), sigma=one(noisy))
    each: list[float] = found.flatten().tolist()
    return each


def at(scale: float) -> float:
    return UNCOND + scale * (COND - UNCOND)


def test_samples_outside_the_range_are_conditional_and_cost_no_pass() -> None:
    teacher = Teacher()
    options = {"guidance_scale": 3.0, "guidance_range": (200.0, 700.0)}
    found = guided(teacher, [900.0, 200.0, 199.9, 700.0, 700.1], **options)
    assert found == [COND, at(3.0), COND, at(3.0), COND]
    assert teacher.asked == [[200.0, 700.0]]
    assert guided(teacher, [900.0, 100.0], **options) == [COND, COND]
    assert guided(teacher, [300.0, 400.0], **options) == [at(3.0)] * 2
    assert teacher.asked == [[200.0, 700.0], [300.0, 400.0]]


class Wavy(Teacher):
    """One whose unconditional answer depends on the sample."""

    def predict_velocity(
        self, noisy: Tensor, timestep_B: Tensor, condition: Condition, *, input_gradients: bool
    ) -> Tensor:
        return (noisy * timestep_B.view(-1, 1, 1, 1, 1)).sin()


@pytest.mark.parametrize(("range_", "within"), [((200.0, 700.0), 1e-14), ((0.0, 1000.0), 0.0)])
def test_guidance_is_that_of_every_sample_with_an_s_of_its_own(range_: tuple[float, float], within: float) -> None:
    """uncond + s · (cond - uncond) with s = 1 outside the range: the same number where no pass is made, the same bits where all are."""
    guidance = Guidance(Wavy(), ScoringOptions(guidance_scale=4.5, guidance_range=range_))
    cond, noisy = (
        torch.randn(5, 2, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (0, 1)
    )
    times = torch.tensor([900.0, 200.0, 199.9, 700.0, 700.1], dtype=torch.float64)
    text = ToyText(torch.ones(5, 4))
    sigma = (times / 1000.0).view(-1, 1, 1, 1, 1)
    uncond = noisy - sigma * Wavy().predict_velocity(noisy, times, text, input_gradients=False)
    s = torch.where((times >= range_[0]) & (times <= range_[1]), 4.5, 1.0).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(
        guidance.guided(cond, noisy, times, text, sigma=sigma), uncond + s * (cond - uncond), rtol=within, atol=within
    )


class AtOnce(Teacher):
    """One whose weights come for each pass: both sides are asked in one, v = x - x̂0 = x - caption."""

    guides_at_once = True

    def unconditional_where(self, condition: ToyText, mask_B: Tensor) -> ToyText:
        return ToyText(torch.where(mask_B[:, None], UNCOND, condition.mean_BD))

    def predict(
        self, noisy: Tensor, timestep_B: Tensor, condition: ToyText, ask: Ask, *, input_gradients: bool
    ) -> Prediction:
        assert len(noisy) == len(timestep_B) == len(condition)
        self.asked.append(timestep_B.tolist())
        return Prediction(noisy - condition.mean_BD[:, :1, None, None, None])


@pytest.mark.parametrize(
    ("range_", "again", "found"),
    [
        ((200.0, 700.0), [200.0, 700.0], [COND, at(3.0), COND, at(3.0)]),
        ((0.0, 1000.0), [900.0, 200.0, 199.9, 700.0], [at(3.0)] * 4),
        ((300.0, 400.0), [], [COND] * 4),
    ],
)
def test_in_one_pass_the_guided_samples_alone_have_a_second_row(
    range_: tuple[float, float], again: list[float], found: list[float]
) -> None:
    teacher: Any = AtOnce(elsewhere=True)
    guidance = Guidance(teacher, ScoringOptions(guidance_scale=3.0, guidance_range=range_))
    times = torch.tensor([900.0, 200.0, 199.9, 700.0], dtype=torch.float64)
    noisy, text = torch.randn(4, 1, 1, 1, 1), ToyText(torch.full((4, 4), COND))
    made, away = guidance.predict(noisy, times, text)
    assert teacher.asked == [[*times.tolist(), *again]]
    cond = noisy - made.velocity
    real = guidance.guided(cond, noisy, times, text, sigma=one(noisy), away_BTCHW=away)
    assert teacher.asked == [[*times.tolist(), *again]]
    assert real.flatten().tolist() == pytest.approx(found)


def test_features_that_keep_a_graph_are_not_asked_beside_a_side_without_one() -> None:
    teacher: Any = AtOnce()
    guidance = Guidance(teacher, ScoringOptions(guidance_scale=3.0))
    times, noisy = torch.tensor([900.0], dtype=torch.float64), torch.zeros(1, 1, 1, 1, 1)
    _, away = guidance.predict(noisy, times, ToyText(torch.full((1, 4), COND)), input_gradients=True)
    assert away is None
    assert teacher.asked == [[900.0]]


def test_without_guidance_there_is_one_pass() -> None:
    teacher = Teacher()
    assert guided(teacher, [500.0], guidance_scale=1.0) == [COND]
    assert teacher.asked == []


def test_each_expert_of_the_teacher_has_its_own_guidance() -> None:
    teacher = Teacher(boundary=875.0)
    options = {"guidance_scale": 4.0, "low_noise_guidance_scale": 3.0}
    assert guided(teacher, [900.0, 874.0, 875.0], **options) == [at(4.0), at(3.0), at(4.0)]
    assert guided(teacher, [900.0, 500.0], guidance_scale=4.0, low_noise_guidance_scale=1.0) == [at(4.0), COND]
    assert teacher.asked == [[900.0, 874.0, 875.0], [900.0]]


def test_guidance_of_an_expert_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"low_noise_guidance_scale: is 3, and the teacher has one expert alone; leave it out"
    ):
        guided(Teacher(), [500.0], low_noise_guidance_scale=3.0)


@pytest.mark.parametrize("options", [{}, {"guidance_range": (0.0, 980.0)}, {"low_noise_guidance_scale": 4.5}])
def test_timesteps_that_cannot_matter_are_not_looked_at(monkeypatch: pytest.MonkeyPatch, options: Any) -> None:
    monkeypatch.setattr(Tensor, "tolist", lambda _: pytest.fail("timesteps were read"))
    teacher: Any = Teacher(boundary=875.0)
    scoring, times = ScoringOptions.model_validate(options), torch.tensor([500.0])
    guidance = Guidance(teacher, scoring, scoring.scored_within)
    teacher.predict_velocity = lambda noisy, *_, **__: noisy - UNCOND
    cond = torch.full((1, 1, 1, 1, 1), COND)
    assert guidance.guided(cond, cond, times, ToyText(torch.ones(1, 4)), sigma=one(cond)).item() == at(4.5)


def test_the_gradient_reaches_guided_and_unguided_samples() -> None:
    teacher: Any = Teacher()
    options = ScoringOptions.model_validate({"guidance_scale": 3.0, "guidance_range": (0.0, 700.0)})
    noisy = torch.ones(2, 1, 1, 1, 1, requires_grad=True)
    times = torch.tensor([900.0, 500.0], dtype=torch.float64)
    Guidance(teacher, options).guided(
        noisy * 2.0, noisy, times, ToyText(torch.ones(2, 4)), sigma=one(noisy), through=True
    ).sum().backward()  # type: ignore[arg-type]  likewise
    assert noisy.grad is not None
    assert noisy.grad.flatten().tolist() == [2.0, 6.0]


def test_where_other_processes_guide_a_sample_this_one_makes_the_pass_too_and_nothing_comes_of_it() -> None:
    teacher: Any = Teacher(elsewhere=True)
    options = ScoringOptions.model_validate({"guidance_scale": 3.0, "guidance_range": (0.0, 700.0)})
    noisy = torch.rand(2, 1, 1, 1, 1, requires_grad=True)
    times = torch.tensor([900.0, 800.0], dtype=torch.float64)
    cond = noisy * 2.0
    text = ToyText(torch.ones(2, 4))
    found = Guidance(teacher, options).guided(cond, noisy, times, text, sigma=one(noisy), through=True)
    assert teacher.asked == [[900.0]]
    assert found.equal(cond)
    (gradient,) = torch.autograd.grad(found.sum(), noisy)
    assert gradient.flatten().tolist() == [2.0, 2.0]
