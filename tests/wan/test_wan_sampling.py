"""Prompts to videos: draws, the count of evaluations, and what a sampler leaves as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice

import pytest
import torch
from tests.wan.conftest import encoded
from torch import Tensor

from distill_core.errors import DistillError
from distill_core.protocols import SampledVideo, ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_core.training.roles import RoleHandle
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

MakeModel = Callable[..., WanModel]
MakeRole = Callable[..., RoleHandle]
SHAPE = (2, 16, 4, 4)
SDE = ValidationRequest("student", "sde", timesteps=(1000.0, 500.0), guidance_scale=1.0, seeds=(0,), prompts=("a cat",))


def draws(count: int, seed: int = 0) -> list[Tensor]:
    """What a video of ``seed`` draws, from first principles: [C, T, H, W] at a time, from one generator."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 16, 2, 4, 4, generator=generator).transpose(1, 2) for _ in range(count)]


def only(videos: Iterable[SampledVideo]) -> SampledVideo:
    (video,) = videos
    return video


@pytest.mark.parametrize("variant", ["t2v", "a14b", "ti2v"])
@pytest.mark.parametrize(
    ("request_", "evaluations"),
    [
        (SDE, 2),
        (replace(SDE, timesteps=(1000.0, 500.0, 0.0)), 2),
        (replace(SDE, timesteps=None, steps=3), 3),
        (replace(SDE, guidance_scale=0.0), 4),
        (replace(SDE, sampler="ode"), 2),
        (replace(SDE, sampler="ode", timesteps=None, steps=3), 3),
        (replace(SDE, sampler="ode", timesteps=None, steps=3, guidance_scale=4.0), 6),
    ],
    ids=["sde", "closing-zero", "sde-steps", "guidance-0", "euler", "scheduler", "guided"],
)
def test_every_member_samples_with_every_sampler(
    make_model: MakeModel, make_role: MakeRole, variant: Variant, request_: ValidationRequest, evaluations: int
) -> None:
    model = make_model(variant)
    channels, pixels = (48, 64) if variant == "ti2v" else (16, 32)
    video = only(model.sampler.sample(make_role(model, variant), request_, (2, channels, 4, 4)))
    assert video.frames.shape == (5, pixels, pixels, 3)
    assert video.frames.dtype == torch.uint8
    assert (video.prompt, video.seed, video.evaluations) == ("a cat", 0, evaluations)


def test_a_request_without_a_sampler_gets_the_runs(make_model: MakeModel, make_role: MakeRole) -> None:
    frames: dict[SamplerKind, Tensor] = {}
    kinds: tuple[SamplerKind, ...] = ("ode", "sde")
    for kind in kinds:
        model = make_model(sampler_kind=kind)
        role = make_role(model)
        frames[kind] = only(model.sampler.sample(role, replace(SDE, sampler=None), SHAPE)).frames
        assert frames[kind].equal(only(model.sampler.sample(role, replace(SDE, sampler=kind), SHAPE)).frames)
    assert not frames["ode"].equal(frames["sde"])


def test_videos_come_one_by_one_prompts_outermost(make_model: MakeModel, make_role: MakeRole) -> None:
    model = make_model()
    request = replace(SDE, prompts=("a cat", "a red square"), seeds=(3, 1))
    videos = model.sampler.sample(make_role(model), request, SHAPE)
    order = [(video.prompt, video.seed) for video in videos]
    assert order == [("a cat", 3), ("a cat", 1), ("a red square", 3), ("a red square", 1)]


def test_a_video_depends_on_its_own_prompt_and_seed_only(make_model: MakeModel, make_role: MakeRole) -> None:
    model = make_model()
    role = make_role(model)
    request = replace(SDE, prompts=("a cat", "a red square"), seeds=(3, 1))
    together = list(model.sampler.sample(role, request, SHAPE))
    alone = only(model.sampler.sample(role, replace(SDE, prompts=("a red square",), seeds=(1,)), SHAPE))
    assert together[3].frames.equal(alone.frames)
    assert not together[2].frames.equal(alone.frames)
    assert not together[1].frames.equal(alone.frames)


def test_guidance_follows_its_formula(make_model: MakeModel, make_role: MakeRole) -> None:
    model = make_model(negative_prompt="low quality")
    role = make_role(model, trainable=False)
    (first,) = draws(1)
    t_B = torch.tensor([1000.0], dtype=torch.float64)
    cond, uncond = (role.predict_velocity(first, t_B, encoded(model.adapter, [p])) for p in ("a cat", "low quality"))
    expected = model.adapter.decode_latents(first - (uncond + 3.0 * (cond - uncond)))[0]
    video = only(model.sampler.sample(role, replace(SDE, timesteps=(1000.0,), guidance_scale=3.0), SHAPE))
    assert (video.frames.int() - expected.int()).abs().max() <= 1
    assert not video.frames.equal(model.adapter.decode_latents(first - cond)[0])


def test_training_is_left_as_it_was(make_model: MakeModel, make_role: MakeRole) -> None:
    model = make_model()
    role = make_role(model)
    transformer = role.modules["transformer"]
    transformer.get_submodule("blocks.0").eval()
    modes = [module.training for module in transformer.modules()]
    state = torch.random.get_rng_state()
    inside: list[tuple[bool, bool]] = []
    transformer.register_forward_pre_hook(lambda module, _: inside.append((module.training, torch.is_grad_enabled())))
    for _ in islice(model.sampler.sample(role, replace(SDE, seeds=(0, 1)), SHAPE), 1):
        assert torch.is_grad_enabled()
        assert [module.training for module in transformer.modules()] == modes
    assert inside == [(False, False)] * 2
    assert torch.random.get_rng_state().equal(state)
    assert all(parameter.grad is None for parameter in transformer.parameters())


def test_timesteps_that_rise_are_refused(make_model: MakeModel, make_role: MakeRole) -> None:
    model = make_model()
    with pytest.raises(DistillError, match="must fall strictly"):
        only(model.sampler.sample(make_role(model), replace(SDE, timesteps=(500.0, 1000.0)), SHAPE))
