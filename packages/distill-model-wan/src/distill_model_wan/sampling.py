"""Prompts to videos with one role's transformers: the flow by the folder's own scheduler or by Euler steps, or stochastically.

Every draw comes from a generator of the video's own, seeded on the CPU: no video depends on the device, on its neighbours or on the
global random state, and drawing it advances none. The order of draws is that of a diffusers pipeline whose scheduler shares its
generator. B = 1 batch, T latent frames, C channels, H W latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill_core import flow
from distill_core.protocols import Ask, Condition, Role, SampledVideo, ValidationRequest
from distill_core.protocols.validator import SamplerKind
from distill_model_wan.adapter import WanAdapter
from distill_model_wan.schedulers import many_step_scheduler
from distill_model_wan.text import WanText

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, T, C, H, W], t [B]) to the guided velocity."""


@dataclass(frozen=True)
class Noise:
    """One video's draws, in Wan's layout and order of channels."""

    shape_TCHW: tuple[int, int, int, int]
    generator: torch.Generator
    device: torch.device

    def draw(self) -> Tensor:
        """The next standard normal float32 [1, T, C, H, W]."""
        frames, channels, height, width = self.shape_TCHW
        noise_CTHW = torch.randn(channels, frames, height, width, generator=self.generator)
        return noise_CTHW.transpose(0, 1)[None].to(self.device)


class WanSampler:
    """The :class:`distill_core.protocols.Sampler` of Wan. Guided predictions take two passes, as in diffusers; s = 1 takes one."""

    def __init__(self, adapter: WanAdapter, default_kind: SamplerKind) -> None:
        self.adapter = adapter
        self.default_kind = default_kind

    def kind(self, request: ValidationRequest) -> SamplerKind:
        """The sampler that a request means."""
        return self.default_kind if request.sampler is None else request.sampler

    def sample(
        self, role: Role, request: ValidationRequest, latent_shape: tuple[int, int, int, int]
    ) -> Iterator[SampledVideo]:
        """One video per prompt and seed, prompts outermost. Raises DistillError for timesteps that are no falling grid."""
        assert request.prompts is not None
        texts = self.adapter.kept_texts(request.prompts)
        for index, (prompt, text) in enumerate(zip(request.prompts, texts, strict=True)):
            for seed in request.seeds_of(index):
                noise = Noise(latent_shape, torch.Generator("cpu").manual_seed(seed), self.adapter.packing.device)
                velocity = GuidedVelocity(role, request, text)
                yield SampledVideo(prompt, seed, self._frames(role, request, velocity, noise), velocity.evaluations)

    @torch.no_grad()
    def _frames(self, role: Role, request: ValidationRequest, velocity: Velocity, noise: Noise) -> Tensor:
        """One video as uint8 frames [F, H, W, 3] on the CPU. A function of its own: no mode may outlast it into the caller's loop."""
        with evaluating(role.modules):
            latents_BTCHW = self._denoised(request, velocity, noise)
            return self.adapter.decode_latents(latents_BTCHW)[0].cpu()

    def _denoised(self, request: ValidationRequest, velocity: Velocity, noise: Noise) -> Tensor:
        if self.kind(request) == "sde":
            return sde(velocity, self._grid(request, noise.shape_TCHW), noise)
        if request.timesteps is not None:
            return euler(velocity, flow.denoising_grid(request.timesteps), noise)
        assert request.steps is not None
        config = self.adapter.folder.folder.scheduler
        return scheduled(velocity, config, self.adapter.flow_shift(noise.shape_TCHW), request.steps, noise)

    def _grid(self, request: ValidationRequest, latent_shape: tuple[int, int, int, int]) -> tuple[float, ...]:
        if request.timesteps is not None:
            return flow.denoising_grid(request.timesteps)
        assert request.steps is not None
        return flow.shifted_uniform_grid(request.steps, self.adapter.flow_shift(latent_shape))


class GuidedVelocity:
    """uncond + s · (cond - uncond) for one prompt; counts the transformer's evaluations."""

    def __init__(self, role: Role, request: ValidationRequest, text: WanText) -> None:
        self.role = role
        self.request = request
        self.text = text
        self.evaluations = 0

    def __call__(self, noisy_BTCHW: Tensor, timestep_B: Tensor) -> Tensor:
        """The guided velocity, [B, T, C, H, W]."""
        scale = self.request.guidance_scale
        assert scale is not None
        cond = self._predicted(noisy_BTCHW, timestep_B, self.text)
        if scale == 1.0:
            return cond
        uncond = self._predicted(noisy_BTCHW, timestep_B, self.role.unconditional(self.text))
        return uncond + scale * (cond - uncond)

    def _predicted(self, noisy_BTCHW: Tensor, timestep_B: Tensor, text: Condition) -> Tensor:
        self.evaluations += 1
        ask = Ask(self.request.attn_kind, self.request.sparsity)
        return self.role.predict_velocity(noisy_BTCHW, timestep_B, text, ask)


def sde(velocity: Velocity, grid: tuple[float, ...], noise: Noise) -> Tensor:
    """Predict x0, noise it anew for the next timestep, and so on; the last prediction is the sample."""
    x_BTCHW = noise.draw()
    for index, timestep in enumerate(grid):
        t_B = _batch_of(timestep)
        x0_BTCHW = flow.x0_of(x_BTCHW, velocity(x_BTCHW, t_B), t_B)
        if index + 1 == len(grid):
            return x0_BTCHW
        x_BTCHW = flow.add_noise(x0_BTCHW, noise.draw(), _batch_of(grid[index + 1]))
    raise AssertionError("a denoising grid holds a timestep")


def euler(velocity: Velocity, grid: tuple[float, ...], noise: Noise) -> Tensor:
    """Euler steps along the flow through ``grid``, down to σ = 0."""
    x_BTCHW = noise.draw()
    for timestep, following in zip(grid, (*grid[1:], 0.0), strict=True):
        t_B, next_B = _batch_of(timestep), _batch_of(following)
        x_BTCHW = flow.euler_step(x_BTCHW, velocity(x_BTCHW, t_B), t_B, next_B)
    return x_BTCHW


def scheduled(velocity: Velocity, config: Mapping[str, object], shift: float, steps: int, noise: Noise) -> Tensor:
    """``steps`` steps of the folder's own diffusers scheduler with the run's flow shift."""
    scheduler = many_step_scheduler(config, shift)
    scheduler.set_timesteps(steps, device=noise.device)
    scheduler.set_begin_index(0)
    x_BTCHW = noise.draw()
    for timestep in scheduler.timesteps:
        v_BTCHW = velocity(x_BTCHW, timestep.double().view(1))
        x_BTCHW = scheduler.step(v_BTCHW, timestep, x_BTCHW, return_dict=False)[0]
    return x_BTCHW


def _batch_of(timestep: float) -> Tensor:
    return torch.tensor([timestep], dtype=torch.float64)


@contextmanager
def evaluating(modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, the modules are in eval mode; each goes back to its own mode on leaving."""
    training = {module: module.training for root in modules.values() for module in root.modules()}
    for root in modules.values():
        root.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
