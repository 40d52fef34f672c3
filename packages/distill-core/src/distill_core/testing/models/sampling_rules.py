"""Rules for the sampler: a video follows from its seed and prompt alone, and nothing else is left other than it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from distill_core.errors import DistillError
from distill_core.protocols.validator import SampledVideo, ValidationRequest
from distill_core.testing.models.subject import CAPTIONS, Subject, Tried
from distill_core.training.roles import RoleHandle

PLAIN = ValidationRequest("role", prompts=CAPTIONS[-1:], seeds=(3, 4), sparsity=0.0, guidance_scale=1.0)

REQUESTS: Mapping[str, ValidationRequest] = {
    "its own schedule": replace(PLAIN, prompts=CAPTIONS, sampler="ode", steps=3, guidance_scale=2.0),
    "one step": replace(PLAIN, sampler="ode", steps=1),
    "sde over timesteps": replace(PLAIN, sampler="sde", timesteps=(1000.0, 500.0)),
    "ode over timesteps": replace(PLAIN, sampler="ode", timesteps=(1000.0, 500.0)),
}
"""Ways of sampling, for two seeds; one of them for both captions."""


def sampled(subject: Subject, role: RoleHandle, asked: ValidationRequest) -> list[SampledVideo]:
    """What the family's sampler makes of a request."""
    return list(subject.model.sampler.sample(role, subject.shown(asked), subject.shape))


def check_sampling(subject: Subject, tried: Tried) -> None:
    """A trained role is sampled in every way, in the middle of its training."""
    refused = 0
    for name in REQUESTS:
        with tried.rule(f"sample ({name})"):
            try:
                _check_way(subject, name, tried)
            except DistillError as error:
                refused += 1
                tried.findings.note(f"{name} is refused: {error}")
    tried.expect(
        refused < len(REQUESTS), "sampler's refusal", "every way of sampling is refused, by timesteps and by steps"
    )
    with tried.rule("sampler's refusal"):
        _check_refusal(subject, tried)


def _check_way(subject: Subject, name: str, tried: Tried) -> None:
    rule, asked = f"sample ({name})", REQUESTS[name]
    role = subject.loaded(subject.model, subject.facts, trainable=True)
    modes = [module.training for module in role.container.modules()]
    weights = {key: tensor.clone() for key, tensor in role.container.state_dict().items()}
    videos, graphs = [], set()
    for video in subject.model.sampler.sample(role, subject.shown(asked), subject.shape):
        videos.append(video)
        graphs.add(torch.is_grad_enabled() and not video.frames.requires_grad)
    _check_videos(subject, rule, asked, videos, tried)
    alone = sampled(subject, role, replace(asked, prompts=CAPTIONS[-1:], seeds=(4,)))
    tried.expect(
        [video.frames.tolist() for video in alone] == [videos[-1].frames.tolist()],
        rule,
        "a video asked for by itself is another one; draw each from a generator of its own, seeded with its seed",
    )
    tried.expect(
        modes == [module.training for module in role.container.modules()],
        "eval mode restored",
        f"{rule} leaves modules in another mode; training goes on with them: put each back into the mode in which it was",
    )
    tried.expect(
        all(torch.equal(tensor, weights[key]) for key, tensor in role.container.state_dict().items()),
        rule,
        "sampling changes weights or buffers of the role",
    )
    tried.expect(
        graphs == {True},
        rule,
        "torch.no_grad outlasts the sampler into its caller's loop, or a video has a graph; use it within a function that yields nothing",
    )


def _check_videos(
    subject: Subject, rule: str, asked: ValidationRequest, videos: Sequence[SampledVideo], tried: Tried
) -> None:
    assert asked.prompts is not None
    tried.expect(
        [(video.prompt, video.seed) for video in videos]
        == [(prompt, seed) for prompt in asked.prompts for seed in (3, 4)],
        rule,
        "videos come in another order, or another number; give one per prompt and seed of request.seeds_of(index), prompts outermost",
    )
    expected = (*subject.facts.latent_space.pixels(subject.shape), 3)
    for video in videos:
        tried.expect(
            tuple(video.frames.shape) == expected and video.frames.dtype == torch.uint8 and video.evaluations > 0,
            rule,
            f"a video is {video.frames.dtype} {list(video.frames.shape)} in {video.evaluations} evaluations; give uint8 {list(expected)}",
        )
    tried.expect(
        not torch.equal(videos[0].frames, videos[1].frames),
        rule,
        "two seeds give one video; draw its noise from its own seed",
    )


def _check_refusal(subject: Subject, tried: Tried) -> None:
    rising = replace(REQUESTS["ode over timesteps"], timesteps=(500.0, 1000.0))
    try:
        sampled(subject, subject.role, rising)
    except DistillError:
        return
    tried.findings.fault(
        "sampler's refusal",
        "timesteps that rise are sampled all the same; distill_core.flow.denoising_grid refuses them",
    )
