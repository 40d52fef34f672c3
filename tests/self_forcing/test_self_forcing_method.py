"""CausVid and Self-Forcing on toy models: the contract, the losses by hand, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tests.self_forcing.test_self_forcing_rollouts import spec
from torch import Tensor

from distill_core.testing.contracts import FAMILY, LATENT_SHAPE, check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyText
from distill_core.training.roles import RoleHandle
from distill_matching.losses import dmd_gradient
from distill_matching.score_identity import sid_loss
from distill_method_self_forcing.config import CausalMatchingOptions, CausvidOptions, SelfForcingOptions
from distill_method_self_forcing.method import CausalMatching, self_forcing


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("self-forcing", SelfForcingOptions(generator_update_interval=2)),
        (
            "self-forcing",
            SelfForcingOptions(
                block=1, window=2, sink=1, student_loss="sid", generator_update_interval=2, extra_blocks=1
            ),
        ),
        (
            "self-forcing",
            SelfForcingOptions(block=2, student_loss="gan", generator_update_interval=2, dmd_denoising_steps=(1000,)),
        ),
        ("causvid", CausvidOptions(gan_weight=0.1, generator_update_interval=2, critic_reuses_student_sample=False)),
    ],
    ids=["dmd", "sid", "gan", "causvid"],
)
def test_each_keeps_the_contract(name: str, options: CausalMatchingOptions) -> None:
    check_method(spec(name), options, steps=2)


def made(options: SelfForcingOptions) -> tuple[dict[str, RoleHandle], CausalMatching]:
    roles = toy_roles(spec(), options)
    method = self_forcing(roles, options)
    assert isinstance(method, CausalMatching)
    return roles, method


def velocity(role: RoleHandle, x: Tensor, t: Tensor, text: Any = None) -> Tensor:
    return role.predict_velocity(x, t, toy_batch().conditions[FAMILY] if text is None else text)


def test_the_scores_are_of_the_whole_streamed_clip_at_one_timestep(monkeypatch: pytest.MonkeyPatch) -> None:
    options = SelfForcingOptions(block=2, generator_update_interval=1, guidance_scale=4.0)
    roles, method = made(options)
    batch, draw = toy_batch(latents=False), toy_draw(1)
    loss = next(iter(method.losses(batch, draw)))
    inner = draw.within("student")
    x = method.clips(batch, inner).x_BTCHW.detach()
    t = (1000 * inner.uniform("score_timestep")).clamp(20, 980)
    sigma = (t / 1000).float().view(-1, 1, 1, 1, 1)
    noisy = (1 - sigma) * x + sigma * inner.normal("score", LATENT_SHAPE)
    with torch.no_grad():
        fake = noisy - sigma * velocity(roles["critic"], noisy, t)
        cond, uncond = (velocity(roles["teacher"], noisy, t, text) for text in (None, ToyText(torch.zeros(3, 4))))
        real = noisy - sigma * (uncond + 4.0 * (cond - uncond))
    expected = 0.5 * (dmd_gradient(x, fake, real) ** 2).mean()
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_score_identity_by_hand() -> None:
    """x = 1, r = .4, f = .7: (r - f)((r - x) - (r - f)) = -.3 · -.3 = .09, over |x - r| = .6."""
    x, real, fake = (torch.full((2, 3, 1, 2, 2), value) for value in (1.0, 0.4, 0.7))
    assert sid_loss(x, fake, real, 1.0).item() == pytest.approx(0.15)
    assert sid_loss(x, fake, real, 0.0).item() == pytest.approx(0.18 / 0.6)
    assert sid_loss(x, real, real, 1.0).item() == 0.0
    half = torch.cat([real[:, :1], x[:, 1:]], dim=1)
    later = sid_loss(x[:, 1:], half[:, 1:], real[:, 1:], 1.0).item()
    assert sid_loss(x, half, real, 1.0, first=1).item() == pytest.approx(later)


def test_score_identity_sends_gradients_through_both_scores_and_trains_neither() -> None:
    options = SelfForcingOptions(block=2, generator_update_interval=1, student_loss="sid", dmd_denoising_steps=(1000,))
    roles, method = made(options)
    batch, draw = toy_batch(latents=False), toy_draw(1)
    next(iter(method.losses(batch, draw))).value.backward()
    whole = gradients(roles)
    assert "teacher" not in whole
    inner = draw.within("student")
    sample = method.clips(batch, inner)
    scored = method.scores.of(sample.detach(), batch, inner)
    sid_loss(sample.x_BTCHW, scored.fake_BTCHW, scored.real_BTCHW, 1.0).backward()
    constants = gradients(roles)["student"]
    assert not torch.allclose(whole["student"], constants, rtol=1e-2), "constants of the scores give another gradient"


def test_frames_of_context_are_in_no_loss() -> None:
    options = SelfForcingOptions(
        block=2, generator_update_interval=1, extra_blocks=1, normalizer="none", guidance_scale=1.0
    )
    _, method = made(options)
    batch = toy_batch(latents=False)
    step = next(step for step in range(1, 60) if toy_draw(step).within("student").shared_index("extra blocks", 2) == 1)
    loss = next(iter(method.losses(batch, toy_draw(step))))
    inner = toy_draw(step).within("student")
    sample = method.clips(batch, inner)
    scored = method.scores.of(sample.detach(), batch, inner)
    expected = 0.5 * ((scored.fake_BTCHW - scored.real_BTCHW)[:, 2:] ** 2).mean()
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "student_step", "other_step"),
    [
        ({}, {"student", "critic"}, {"critic"}),
        ({"gan_weight": 0.1}, {"student", "critic", "discriminator"}, {"critic", "discriminator"}),
        ({"student_loss": "gan"}, {"student", "discriminator"}, {"discriminator"}),
    ],
)
def test_who_steps_when_and_which_roles_there_are(
    options: dict[str, Any], student_step: set[str], other_step: set[str]
) -> None:
    chosen = SelfForcingOptions.model_validate(options)
    assert set(chosen.roles_to_step(5)) == student_step
    assert set(chosen.roles_to_step(4)) == other_step
    demands = spec().demands(chosen)
    assert demands.roles is not None
    assert set(demands.roles) == student_step | {"teacher"}
    assert demands.latents == ("discriminator" in student_step)
    assert demands.least_frames == 4


def test_a_student_of_longer_rollouts_needs_pixels_and_another_does_not() -> None:
    for extra, expected in ((0, set()), (2, {"decode_pixels", "encode_pixels"})):
        roles = spec().demands(SelfForcingOptions(extra_blocks=extra)).roles
        assert roles is not None
        assert roles["student"].operations & {"decode_pixels", "encode_pixels"} == expected


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SelfForcingOptions, {"sink": 1}, "set window, or sink: 0"),
        (SelfForcingOptions, {"student_loss": "gan", "gan_weight": 0.1}, "leave gan_weight out"),
        (SelfForcingOptions, {"student_loss": "sid", "normalizer": "none"}, "leave normalizer out"),
        (
            SelfForcingOptions,
            {"score_floor": 0.5, "same_step_across_blocks": False},
            "set same_step_across_blocks: true",
        ),
        (CausvidOptions, {"window": 6}, "take self-forcing"),
        (CausvidOptions, {"score_floor": 0.5}, "leave it out"),
        (SelfForcingOptions, {"attn_kind": "vsa"}, "dense"),
        (SelfForcingOptions, {"rollout": "data_latent"}, "simulate"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_remedy(kind: Any, options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(options)


def test_all_that_does_not_go_together_is_told_at_once_what_is_inherited_first() -> None:
    options = {
        "guidance_range": (500.0, 100.0),
        "sink": 1,
        "student_loss": "gan",
        "gan_weight": 0.1,
        "score_floor": 0.5,
    }
    with pytest.raises(ValidationError) as caught:
        CausvidOptions.model_validate(options)
    (fault,) = caught.value.errors()
    remedies = ("exchange its two timesteps", "set window, or sink: 0", "leave gan_weight out", "leave it out")
    told = fault["ctx"]["error"].each
    assert [remedy in one for remedy, one in zip(remedies, told, strict=True)] == [True] * 4


def test_the_student_is_sampled_with_the_window_that_it_trains_with() -> None:
    request = SelfForcingOptions(block=2, window=4, sink=1).sampling(lambda timestep: timestep)
    assert (request.blocks, request.window, request.sink, request.sampler) == (2, 4, 1, "sde")
