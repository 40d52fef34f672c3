"""Prompts to videos with one role's denoisers: the flow by the folder's own scheduler or by Euler steps, or stochastically.

Every draw comes from a generator of the video's own, seeded on the CPU: no video depends on the device, on its neighbours or on the
global random state, and drawing it advances none. The order of draws is that of a diffusers pipeline whose scheduler shares its
generator. B = 1 batch, T latent frames, C channels, H W latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_core.flow import denoising_grid, shifted_uniform_grid
from distill_core.flow.guided import Combine, GuidedVelocity, evaluating, led_away
from distill_core.flow.stream_clock import StreamClock
from distill_core.flow.walks import Noise, Velocity, by_blocks, euler, flow_map, sde, to_clean
from distill_core.protocols import Condition, Prompt, Role, SampledVideo, ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_core.video.reading import read_picture
from distill_diffusers.adapter import ConditionT, DiffusersAdapter
from distill_diffusers.own_steps import OwnSteps
from distill_diffusers.schedule import Schedule
from distill_diffusers.schedulers import asked, fixed_sampling_shift, many_step_scheduler, sampling_shift_of

LatentShape = tuple[int, int, int, int]
"""[T, C, H, W] of a sample."""


@dataclass
class PipelineNoise:
    """One video's draws, as the pipeline makes them.

    Attributes:
        shape_TCHW: of the latents.
        generator: the video's own.
        device: where draws go.
        schedule: the pipeline's orders of dimensions.
        patch: latent frames, rows and columns of one token.
    """

    shape_TCHW: LatentShape
    generator: torch.Generator
    device: torch.device
    schedule: Schedule = field(default_factory=Schedule)
    patch: tuple[int, int, int] = (1, 1, 1)
    _drawn: bool = False

    def draw(self) -> Tensor:
        """The next standard normal float32 [1, T, C, H, W]."""
        order = self.schedule.later_noise if self._drawn else self.schedule.first_noise
        self._drawn = True
        sizes = dict(zip("TCHW", self.shape_TCHW, strict=True))
        for name, within in zip("THW", self.patch, strict=True):
            if name.lower() in order:
                sizes |= {name: sizes[name] // within, name.lower(): within}
        noise = torch.randn([sizes[name] for name in order], generator=self.generator)
        whole = [each for name in "TCHW" for each in (name, name.lower()) if each in order]
        noise_TCHW = noise.permute([order.index(name) for name in whole]).reshape(self.shape_TCHW)
        return noise_TCHW[None].to(self.device)


class FlowSampler:
    """The :class:`distill_core.protocols.Sampler` of a diffusers family. Guided predictions take two passes, as in diffusers."""

    def __init__(
        self,
        adapter: DiffusersAdapter[ConditionT],
        schedule: Schedule,
        default_kind: SamplerKind,
        combine: Combine = led_away,
        own_steps: OwnSteps | None = None,
    ) -> None:
        self.adapter = adapter
        self.schedule = schedule
        self.default_kind = default_kind
        self.combine = combine
        self.own_steps = own_steps

    def kind(self, request: ValidationRequest) -> SamplerKind:
        """The sampler that a request means."""
        return self.default_kind if request.sampler is None else request.sampler

    def sample(self, role: Role, request: ValidationRequest, latent_shape: LatentShape) -> Iterator[SampledVideo]:
        """One video per prompt and seed, prompts outermost. Raises DistillError for timesteps that are no falling grid."""
        assert request.prompts is not None
        negative = None if request.negative_prompt is None else next(self.adapter.kept_texts([request.negative_prompt]))
        texts = self.adapter.kept_texts(request.prompts)
        for index, (prompt, text) in enumerate(zip(request.prompts, texts, strict=True)):
            pictured = _prompt(request, index)
            shown = self.adapter.pictured(text, [pictured])
            away = None if negative is None else self.adapter.pictured(negative, [pictured])
            for seed in request.seeds_of(index):
                generator = torch.Generator("cpu").manual_seed(seed)
                patch = self.adapter.facts.patch
                noise = PipelineNoise(latent_shape, generator, self.adapter.device, self.schedule, patch)
                velocity = GuidedVelocity(role, request, shown, away, role.boundary, self.combine)
                clock = StreamClock(self._shown)
                frames = self._frames(role, request, velocity, noise, clock, shown)
                yield SampledVideo(prompt, seed, frames, velocity.evaluations, clock.times, pictured.first_frame)

    @torch.no_grad()
    def _frames(
        self,
        role: Role,
        request: ValidationRequest,
        velocity: GuidedVelocity,
        noise: PipelineNoise,
        clock: StreamClock,
        condition: Condition,
    ) -> Tensor:
        """One video as uint8 frames [F, H, W, 3] on the CPU. A function of its own: no mode may outlast it into the caller's loop."""
        with evaluating(role.modules):
            latents_BTCHW = self._latents(request, velocity, noise, clock)
            return self._shown(self.adapter.with_given(latents_BTCHW, condition), noise.generator)

    def _shown(self, latents_BTCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latents of one video as uint8 frames [F, H, W, 3] on the CPU; a VAE that draws goes on with the video's draws."""
        return self.adapter.decode_latents(latents_BTCHW, generator)[0].cpu()

    def _latents(
        self, request: ValidationRequest, velocity: GuidedVelocity, noise: PipelineNoise, clock: StreamClock
    ) -> Tensor:
        """The whole of a sample: at once, or block by block, each on a stream of those before."""
        frames, channels, height, width = noise.shape_TCHW
        shift = sampling_shift_of(self.adapter.facts, noise.shape_TCHW, request.steps)
        if request.blocks is None:
            whole = self._denoised(request, velocity, noise, shift)
            if self.kind(request) == "sde":
                noise.draw()  # the pipeline's scheduler draws at its last step too: a VAE that draws comes after that
            return whole

        def walk(size: int) -> Tensor:
            """One block."""
            own = replace(noise, shape_TCHW=(size, channels, height, width))
            return self._denoised(request, velocity, own, shift)

        return by_blocks(frames, request.blocks, clock.watched(walk), velocity.remember)

    def _denoised(
        self, request: ValidationRequest, velocity: GuidedVelocity, noise: PipelineNoise, shift: float
    ) -> Tensor:
        """From noise to what is clean, in the request's steps under a flow shift."""
        facts, kind = self.adapter.facts, self.kind(request)
        if request.timesteps is not None:
            grid = denoising_grid(request.timesteps)
        else:
            assert request.steps is not None
            grid = self._even_grid(request.steps, shift)
        if kind == "ode" and not request.until and self.own_steps is not None and self.own_steps.makes(grid):
            return self.own_steps.walk(velocity, len(grid), noise)
        if kind == "sde":
            return sde(to_clean(velocity) if request.until else velocity, grid, noise)
        if request.until:
            return flow_map(velocity, grid, noise)
        if request.timesteps is not None:
            return euler(velocity, grid, noise)
        scheduler = many_step_scheduler(facts.folder.scheduler, fixed_sampling_shift(facts))
        asked(scheduler, self.schedule.asks, len(grid), shift, noise.device)
        return scheduled(velocity, scheduler, noise)

    def _even_grid(self, steps: int, shift: float) -> tuple[float, ...]:
        """The timesteps of so many steps. Raises ModelFolderError for fewer than the pipeline can be asked for."""
        if self.own_steps is None:
            return shifted_uniform_grid(steps, shift)
        reason = self.own_steps.too_few(steps)
        if reason is not None:
            raise ModelFolderError(reason)
        return self.own_steps.grid(steps)


def _prompt(request: ValidationRequest, index: int) -> Prompt:
    """One prompt of a request, with its pictures."""
    assert request.prompts is not None
    first, last = (
        None if files is None else read_picture(Path(files[index]))
        for files in (request.first_frames, request.last_frames)
    )
    return Prompt(request.prompts[index], first, last)


def scheduled(velocity: Velocity, scheduler: Any, noise: Noise) -> Tensor:
    """The steps of a diffusers scheduler that has its timesteps. ``Any``: diffusers' schedulers have no common type."""
    scheduler.set_begin_index(0)
    x_BTCHW = noise.draw()
    for timestep in scheduler.timesteps:
        v_BTCHW = velocity(x_BTCHW, timestep.double().view(1))
        x_BTCHW = scheduler.step(v_BTCHW, timestep, x_BTCHW, return_dict=False)[0]
    return x_BTCHW
