"""Videos made by blocks on a stream, by jumps to a second time, and with a guidance of the second expert's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.wan.conftest import MakeModel, MakeRole, encoded
from torch import Tensor

from distill_core.protocols import Ask, Prediction, SampledVideo, ValidationRequest
from distill_core.training.roles import RoleHandle
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

Draw = Callable[..., Tensor]
SHAPE = (5, 16, 4, 4)
PARTS = frozenset({"predict", "unconditional", "blocks", "stream", "frame_timesteps", "until"})
SDE = ValidationRequest("student", "sde", timesteps=(1000.0, 500.0), guidance_scale=1.0, seeds=(0,), prompts=("a cat",))
BLOCKS = replace(SDE, blocks=2)


def only(videos: Iterable[SampledVideo]) -> SampledVideo:
    (video,) = videos
    return video


@pytest.fixture
def made(make_model: MakeModel, make_role: MakeRole) -> Callable[..., tuple[WanModel, RoleHandle]]:
    """``made("a14b")``: a model, and a role that is loaded for all of it."""

    def make(variant: Variant = "t2v", **options: object) -> tuple[WanModel, RoleHandle]:
        model = make_model(variant, **options)
        return model, make_role(model, variant, trainable=False, operations=PARTS)

    return make


@pytest.mark.parametrize("variant", ["t2v", "a14b", "ti2v"])
@pytest.mark.parametrize(
    ("request_", "evaluations"),
    [
        (BLOCKS, 3 * 2 + 2),
        (replace(BLOCKS, guidance_scale=3.0), 2 * (3 * 2 + 2)),
        (replace(BLOCKS, sampler="ode"), 3 * 2 + 2),
        (replace(BLOCKS, sampler="ode", timesteps=None, steps=3, window=2, sink=1), 3 * 3 + 2),
        (replace(BLOCKS, blocks=9), 2),
        (replace(SDE, until=True), 2),
        (replace(SDE, until=True, sampler="ode", timesteps=None, steps=3, guidance_scale=2.0), 6),
        (replace(BLOCKS, until=True, sampler="ode"), 3 * 2 + 2),
    ],
    ids=["sde", "guided", "euler", "scheduler", "one-block", "until-sde", "until-guided", "until-blocks"],
)
def test_every_member_samples_so_and_counts_it(
    made: Callable[..., tuple[WanModel, RoleHandle]], variant: Variant, request_: ValidationRequest, evaluations: int
) -> None:
    model, role = made(variant)
    channels, pixels = (48, 64) if variant == "ti2v" else (16, 32)
    video = only(model.sampler.sample(role, request_, (5, channels, 4, 4)))
    assert video.frames.shape == (17, pixels, pixels, 3)
    # Each of two experts remembers a block: two blocks, under each condition.
    again = 2 * (1 if request_.guidance_scale == 1.0 else 2) if variant == "a14b" and request_.blocks == 2 else 0
    assert video.evaluations == evaluations + again


def test_blocks_are_predicted_on_the_clean_ones_before_them(made: Callable[..., tuple[WanModel, RoleHandle]]) -> None:
    """The sampler's own result, made by hand: noise of each block, one step, the result remembered at σ = 0."""
    model, role = made()
    generator, text = torch.Generator().manual_seed(0), encoded(model.adapter, ["a cat"])
    stream, blocks = None, []
    for frames in (2, 2, 1):
        noise = torch.randn(1, 16, frames, 4, 4, generator=generator).transpose(1, 2)
        t_B = torch.tensor([1000.0], dtype=torch.float64)
        blocks.append(role.predict_x0(noise, t_B, text, Ask(stream=stream)))
        stream = role.predict(blocks[-1], 0.0 * t_B, text, Ask(stream=stream, store=True)).stream
    expected = model.adapter.decode_latents(torch.cat(blocks, dim=1))[0]
    video = only(model.sampler.sample(role, replace(BLOCKS, timesteps=(1000.0,)), SHAPE))
    assert (video.frames.int() - expected.int()).abs().max() <= 1


def test_a_video_by_blocks_begins_like_a_shorter_one(made: Callable[..., tuple[WanModel, RoleHandle]]) -> None:
    model, role = made()
    long, short = (only(model.sampler.sample(role, BLOCKS, (frames, *SHAPE[1:]))).frames for frames in (4, 2))
    assert (long[:5].int() - short.int()).abs().max() <= 1


def test_what_falls_out_of_the_window_is_not_seen(made: Callable[..., tuple[WanModel, RoleHandle]]) -> None:
    model, role = made()
    every, rolling, longer = (
        only(model.sampler.sample(role, replace(BLOCKS, blocks=1, window=window), SHAPE)).frames
        for window in (None, 1, 4)
    )
    assert rolling[:5].equal(every[:5])
    assert not rolling[9:].equal(every[9:])
    assert longer.equal(every)


def test_one_evaluation_jumps_to_the_next_timestep(
    made: Callable[..., tuple[WanModel, RoleHandle]], noise: Draw
) -> None:
    model, role = made()
    with torch.no_grad():
        for name, parameter in role.container.named_parameters():
            if ".second.linear_2." in name:
                parameter.copy_(0.2 * noise(*parameter.shape, seed=4))
    asked: list[tuple[float, float]] = []
    predict = model.adapter.predict

    def spied(modules: Any, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> Prediction:
        assert ask.until is not None
        asked.append((timestep.item(), ask.until.item()))
        return predict(modules, noisy, timestep, condition, ask)

    jump = replace(SDE, until=True, sampler="ode")
    plain = only(model.sampler.sample(role, replace(SDE, sampler="ode"), SHAPE)).frames
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.adapter, "predict", spied)
        video = only(model.sampler.sample(role, jump, SHAPE))
        only(model.sampler.sample(role, replace(jump, sampler="sde"), SHAPE))
    assert asked == [(1000.0, 500.0), (500.0, 0.0), (1000.0, 0.0), (500.0, 0.0)]
    assert not video.frames.equal(plain)


def test_each_expert_has_a_guidance_of_its_own(made: Callable[..., tuple[WanModel, RoleHandle]]) -> None:
    model, role = made("a14b", negative_prompt="low quality")
    request = replace(SDE, timesteps=(1000.0, 500.0, 250.0), guidance_scale=3.0, low_noise_guidance_scale=1.0)
    video = only(model.sampler.sample(role, request, SHAPE))
    assert video.evaluations == 2 + 1 + 1
    unguided = only(model.sampler.sample(role, replace(request, guidance_scale=1.0), SHAPE))
    assert unguided.evaluations == 3
    assert not unguided.frames.equal(video.frames)
    same = only(model.sampler.sample(role, replace(request, low_noise_guidance_scale=3.0), SHAPE))
    alike = only(model.sampler.sample(role, replace(request, low_noise_guidance_scale=None), SHAPE))
    assert same.frames.equal(alike.frames)


def test_blocks_are_remembered_under_each_condition_that_an_expert_is_guided_by(
    made: Callable[..., tuple[WanModel, RoleHandle]],
) -> None:
    """Two blocks are remembered, by two experts, under the caption; and under the negative prompt where either expert is guided."""
    model, role = made("a14b", negative_prompt="low quality")
    one_each = replace(BLOCKS, timesteps=(1000.0, 500.0))
    guided = replace(one_each, low_noise_guidance_scale=3.0)
    assert only(model.sampler.sample(role, one_each, SHAPE)).evaluations == 3 * 2 + 2 * 2
    assert only(model.sampler.sample(role, guided, SHAPE)).evaluations == 3 * (1 + 2) + 2 * 2 * 2
