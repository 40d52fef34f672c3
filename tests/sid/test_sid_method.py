"""SiD and SGMD: their contracts, what the student's gradient goes through, and what is refused."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_matching.scores import Scored, Scores
from distill_method_sid.config import SgmdOptions, SidOptions
from distill_method_sid.method import Sgmd, Sid
from distill_method_sid.plugin import sgmd, sid

EACH = {"sid": (sid(), Sid, SidOptions(generator_update_interval=1)), "sgmd": (sgmd(), Sgmd, SgmdOptions())}


@pytest.mark.parametrize("name", EACH)
def test_the_method_keeps_its_contract(name: str) -> None:
    spec, _, options = EACH[name]
    report = check_method(spec, options, steps=2)
    assert set(report.steps.values()) == {("student", "critic")}
    assert any("'student_loss' of student would reach 'critic' too" in note for note in report.notes)


def students_gradient(name: str) -> Tensor:
    spec, method, options = EACH[name]
    roles = toy_roles(spec, options)
    next(method(roles, options).losses(toy_batch(), toy_draw(1))).value.backward()
    assert all(parameter.grad is None for parameter in roles["teacher"].container.parameters())
    return gradients(roles)["student"]


@pytest.mark.parametrize("name", EACH)
def test_the_gradient_goes_through_the_scores(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    through = students_gradient(name)
    original = Scores.of

    def constant(*args: object, **asked: bool) -> Scored:
        scored = original(*args, **asked)
        fake = scored.fake_BTCHW.detach() + 0.0 * scored.x_BTCHW
        return Scored(scored.x_BTCHW, scored.timestep_B, fake, scored.real_BTCHW.detach())

    monkeypatch.setattr(Scores, "of", constant)
    held = students_gradient(name) if name == "sid" else torch.zeros_like(through)
    assert (through - held).norm() > 1e-3 * through.norm()


def test_sgmd_with_another_cadence_or_a_shared_sample_is_refused() -> None:
    for options in ({"generator_update_interval": 5}, {"critic_reuses_student_sample": True}, {"critic_rests": True}):
        with pytest.raises(ValidationError, match=r"SGMD updates the critic once|leaves none"):
            SgmdOptions.model_validate(options)


def test_neither_has_options_of_a_normaliser_that_its_loss_does_not_read() -> None:
    for options in (SidOptions, SgmdOptions):
        assert not {"normalizer", "normalizer_floor", "gan_weight"} & set(options.model_fields)
