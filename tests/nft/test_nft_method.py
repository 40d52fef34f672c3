"""Training by rewards: the contracts of both methods, that rewards rise, what is trained through what, and what is refused."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from distill_core.testing.contracts import check_method, gradients, toy_batch, toy_draw, toy_roles
from distill_method_nft.config import NftOptions, RewardGradientOptions
from distill_method_nft.nft import Nft
from distill_method_nft.plugin import demands, nft, reward_gradient
from distill_method_nft.reward_gradient import RewardGradient
from distill_method_nft.walk import Walk

NFT = NftOptions(sampling_steps=2, group_size=2, timesteps_per_clip=1)
DRAFT = RewardGradientOptions(sampling_steps=3, through=2)
REFL = RewardGradientOptions(sampling_steps=3, gradient="drawn_step", reference_weight=0.0)


def test_nft_keeps_its_contract() -> None:
    check_method(nft(), NFT, steps=2)


@pytest.mark.parametrize("options", [DRAFT, REFL], ids=["draft", "refl"])
def test_reward_gradient_keeps_its_contract(options: RewardGradientOptions) -> None:
    check_method(reward_gradient(), options, steps=2)


def brightness(roles: dict[str, object], steps: int) -> float:
    """The mean reward of clips that the student samples."""
    options = RewardGradientOptions(sampling_steps=steps, reference_weight=0.0, through=1)
    (loss,) = RewardGradient(roles, options).losses(toy_batch(8), toy_draw(99, 8))
    return loss.metrics["reward/brightness"].item()


@pytest.mark.parametrize("name", ["nft", "reward-gradient"])
def test_the_reward_rises(name: str) -> None:
    if name == "nft":
        options = NftOptions(sampling_steps=2, group_size=4, timesteps_per_clip=1, beta=1.0, reference_weight=0.0)
        roles = toy_roles(nft(), options)
        method = Nft(roles, options)
    else:
        roles = toy_roles(reward_gradient(), REFL)
        method = RewardGradient(roles, REFL)
    before = brightness(roles, 2)
    optimizer = torch.optim.Adam(roles["student"].container.parameters(), lr=1e-2)
    for step in range(1, 13):
        for loss in method.losses(toy_batch(8), toy_draw(step, 8)):
            loss.value.backward()
        optimizer.step()
        optimizer.zero_grad()
        if name == "nft":
            roles["old"].follow(roles["student"], 0.0)
    assert brightness(roles, 2) > before + 0.05


def test_each_clip_of_a_group_has_noise_of_its_own() -> None:
    roles = toy_roles(nft(), NFT)
    method = Nft(roles, NFT)
    one, two = (method._clip(toy_batch(), toy_draw(1).within(f"clip/{k}"), (1000.0, 500.0)) for k in (0, 1))
    assert not one.equal(two)


@pytest.mark.parametrize(("through", "forwards"), [(1, 1), (3, 3)])
def test_so_many_steps_of_draft_hold_a_graph(through: int, forwards: int) -> None:
    options = RewardGradientOptions(sampling_steps=3, through=through, reference_weight=0.0)
    roles = toy_roles(reward_gradient(), options)
    seen: list[bool] = []
    roles["student"].modules["denoiser"].register_forward_hook(
        lambda module, inputs, output: seen.append(output[0].requires_grad)
    )
    next(RewardGradient(roles, options).losses(toy_batch(), toy_draw(1))).value.backward()
    assert len(seen) == 3
    assert sum(seen) == forwards
    assert set(gradients(roles)) == {"student"}


def test_a_clip_goes_along_the_flow_or_by_fresh_noise() -> None:
    steps, found = (1000.0, 500.0, 0.0), {}
    for move in ("ode", "sde"):
        options = RewardGradientOptions(timesteps=steps[:2], rollout_move=move, reference_weight=0.0)
        student, batch, draw = toy_roles(reward_gradient(), options)["student"], toy_batch(), toy_draw(1)
        walk = Walk(student, batch.condition_of(student), options, draw)
        start = draw.normal("start", batch.latent_shape)
        found[move] = walk.through(start, steps)
        x0 = start - student.predict_velocity(start, walk.everywhere(1000.0, start), walk.condition)
        noise = start if move == "ode" else toy_draw(1).normal("renoise/500", batch.latent_shape)
        half = 0.5 * x0 + 0.5 * noise
        by_hand = half - 0.5 * student.predict_velocity(half, walk.everywhere(500.0, half), walk.condition)
        torch.testing.assert_close(found[move], by_hand)
        assert options.sampling(lambda timestep: timestep).sampler == move
    assert not found["ode"].allclose(found["sde"])


def test_a_move_between_steps_is_without_effect_on_one_step() -> None:
    assert ("rollout_move",) in [names for _, names in RewardGradientOptions(timesteps=(1000.0,)).idle()]
    assert ("rollout_move",) not in [names for _, names in RewardGradientOptions(timesteps=(1000.0, 500.0)).idle()]


def test_refl_draws_from_the_later_steps() -> None:
    options = RewardGradientOptions(sampling_steps=4, gradient="drawn_step", reference_weight=0.0)
    method = RewardGradient(toy_roles(reward_gradient(), options), options)
    assert {method._first(toy_draw(step)) for step in range(1, 20)} == {2, 3}


def test_without_weight_there_is_no_reference() -> None:
    assert "reference" in (demands(NFT).roles or {})
    assert "reference" not in (demands(NFT.model_copy(update={"reference_weight": 0.0})).roles or {})
    assert demands(NFT).rewards == "any"
    assert demands(DRAFT).rewards == "differentiable"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_size": 1}, "greater than or equal to 2"),
        ({"timesteps": (999.0, 500.0)}, "must descend strictly from 1000"),
        ({"timesteps": (1000.0, 1000.0)}, "must descend strictly from 1000"),
        ({"timesteps": (1.0, 0.5)}, "in \\[0, 1000\\]"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NftOptions.model_validate(options)


def test_a_graph_through_more_steps_than_there_are_is_refused() -> None:
    with pytest.raises(ValidationError, match="a clip takes 2 steps; set it to at most that"):
        RewardGradientOptions(timesteps=(1000.0, 500.0), through=3)
