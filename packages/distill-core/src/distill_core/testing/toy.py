"""The toy family at run time: a perceptron per latent site. It has every operation, and no meaning; no site attends to another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from distill_core.plugins.specs import ModelFacts
from distill_core.protocols.adapter import Batch, Condition
from distill_core.protocols.data import Row
from distill_core.protocols.model import ModelPlugin, ModelRequest
from distill_core.protocols.role import Role
from distill_core.protocols.validator import SampledVideo, ValidationRequest
from distill_core.testing.toy_spec import TEXT_WIDTH, ToyOptions


@dataclass(frozen=True)
class ToyText:
    """Captions as the mean of their tokens, [B, D]."""

    mean_BD: Tensor

    def __len__(self) -> int:
        return self.mean_BD.shape[0]


class ToyDenoiser(nn.Module):
    """v from the latent's channels, σ and the caption, at each site by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels + 1 + TEXT_WIDTH, 16), nn.Tanh(), nn.Linear(16, channels))

    def forward(self, x_BTCHW: Tensor, sigma_B: Tensor, text_BD: Tensor) -> Tensor:
        """v, [B, T, C, H, W]."""
        x_BTHWC = x_BTCHW.movedim(2, -1)
        condition = torch.cat([sigma_B[:, None].to(text_BD), text_BD], dim=1)[:, None, None, None, :]
        site = torch.cat([x_BTHWC, condition.expand(*x_BTHWC.shape[:-1], -1)], dim=-1)
        velocity_BTCHW: Tensor = self.layers(site).movedim(-1, 2)
        return velocity_BTCHW


class ToyAdapter:
    """Every operation of :mod:`distill_core.protocols.adapter`."""

    def __init__(self, facts: ModelFacts, options: ToyOptions, device: torch.device) -> None:
        self.facts = facts
        self.options = options
        self.device = device

    def prepare_batch(self, rows: Sequence[Row], latent_shape: tuple[int, int, int, int]) -> Batch:
        """Rows as a normalised batch."""
        text = ToyText(torch.stack([row.text_LD.float().mean(0) for row in rows]).to(self.device))
        latents = [row.latent_CTHW for row in rows if row.latent_CTHW is not None]
        if not latents:
            return Batch(text, latent_shape)
        space = self.facts.latent_space
        mean, std = (torch.tensor(values).view(1, 1, -1, 1, 1) for values in (space.mean, space.std))
        raw_BTCHW = torch.stack(latents).float().movedim(1, 2)[:, : latent_shape[0]]
        return Batch(text, latent_shape, ((raw_BTCHW - mean) / std).to(self.device))

    def add_noise(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep_B: Tensor) -> Tensor:
        """x_t = (1 - σ) x0 + σ ε."""
        sigma = (timestep_B / 1000.0).to(clean_BTCHW.dtype).view(-1, 1, 1, 1, 1)
        return (1.0 - sigma) * clean_BTCHW + sigma * noise_BTCHW

    def predict_velocity(
        self,
        modules: Mapping[str, nn.Module],
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float = 0.0,
    ) -> Tensor:
        """v."""
        assert isinstance(text, ToyText)
        velocity_BTCHW: Tensor = modules["denoiser"](noisy_BTCHW, timestep_B / 1000.0, text.mean_BD)
        return velocity_BTCHW

    def predict_x0(
        self,
        modules: Mapping[str, nn.Module],
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float = 0.0,
    ) -> Tensor:
        """x̂0 = x_t - σ v."""
        sigma = (timestep_B / 1000.0).to(noisy_BTCHW.dtype).view(-1, 1, 1, 1, 1)
        return noisy_BTCHW - sigma * self.predict_velocity(
            modules, noisy_BTCHW, timestep_B, text, attn_kind=attn_kind, sparsity=sparsity
        )

    def shift_timestep(self, timestep_B: Tensor) -> Tensor:
        """t' = 1000 s u / (1 + (s - 1) u)."""
        u_B, shift = timestep_B / 1000.0, self.options.flow_shift
        return 1000.0 * shift * u_B / (1.0 + (shift - 1.0) * u_B)

    def negative_text(self, size: int) -> ToyText:
        """Zeros."""
        return ToyText(torch.zeros(size, TEXT_WIDTH, device=self.device))

    def drop_captions(self, text: Condition, dropped_B: Tensor) -> ToyText:
        """Zeros where dropped."""
        assert isinstance(text, ToyText)
        return ToyText(torch.where(dropped_B[:, None], 0.0, text.mean_BD))

    def encode_text(self, captions: Sequence[str]) -> ToyText:
        """The captions' lengths and first letters, as numbers."""
        tokens = [encode_caption(caption).mean(0) for caption in captions]
        return ToyText(torch.stack(tokens).to(self.device))

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """The first channel as grey, each latent site a block of pixels, uint8 [B, F, H, W, 3]."""
        space = self.facts.latent_space
        grey_BTHW = (latents_BTCHW[:, :, 0].clamp(-1, 1) * 127.5 + 127.5).to(torch.uint8)
        frames = [0] + [1 + t for t in range(latents_BTCHW.shape[1] - 1) for _ in range(space.temporal_stride)]
        pixels = (
            grey_BTHW[:, frames].repeat_interleave(space.spatial_stride, 2).repeat_interleave(space.spatial_stride, 3)
        )
        return pixels[..., None].expand(-1, -1, -1, -1, 3)


def encode_caption(caption: str) -> Tensor:
    """A caption as [L, D] numbers that follow from its letters."""
    words = caption.split() or [""]
    return torch.tensor([[len(word) / 8, *(ord(c) / 128 for c in (word + "   ")[:3])] for word in words])


class ToySampler:
    """Renoising (sde) or Euler (ode) over the request's timesteps."""

    def __init__(self, adapter: ToyAdapter) -> None:
        self.adapter = adapter

    @torch.no_grad()
    def sample(
        self, role: Role, request: ValidationRequest, latent_shape: tuple[int, int, int, int]
    ) -> Iterator[SampledVideo]:
        """One video per prompt and seed."""
        steps = request.timesteps or tuple(1000.0 * (1 - k / (request.steps or 1)) for k in range(request.steps or 1))
        for index, prompt in enumerate(request.prompts or ()):
            for seed in request.seeds_of(index):
                generator = torch.Generator().manual_seed(seed)
                text = self.adapter.encode_text([prompt])
                x = torch.randn((1, *latent_shape), generator=generator)
                for here, there in zip(steps, (*steps[1:], 0.0), strict=True):
                    t_B, next_B = (torch.full((1,), t, dtype=torch.float64) for t in (here, there))
                    velocity = role.predict_velocity(
                        x, t_B, text, attn_kind=request.attn_kind, sparsity=request.sparsity
                    )
                    if request.sampler == "sde":
                        x0 = x - here / 1000.0 * velocity
                        x = role.add_noise(x0, torch.randn(x.shape, generator=generator), next_B)
                    else:
                        x = x + (there - here) / 1000.0 * velocity
                yield SampledVideo(prompt, seed, self.adapter.decode_latents(x)[0], evaluations=len(steps))


class ToyModel:
    """The :class:`distill_core.protocols.ModelPlugin`."""

    def __init__(
        self, facts: ModelFacts, options: ToyOptions, device: torch.device, compute_dtype: torch.dtype
    ) -> None:
        self.adapter = ToyAdapter(facts, options, device)
        self.sampler = ToySampler(self.adapter)

    def load_modules(self, request: ModelRequest) -> dict[str, nn.Module]:
        """One denoiser; its weights follow from the folder's seed, the global random state is left alone."""
        seed = int(json.loads((request.facts.path / "toy.json").read_text(encoding="utf-8"))["seed"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            denoiser = ToyDenoiser(request.facts.latent_space.channels)
        return {"denoiser": denoiser.to(self.adapter.device, request.weights_dtype)}

    def encode_video(self, frames: Tensor) -> Tensor:
        """Every fourth pixel of every fourth frame, [C, T, H, W]."""
        channels = self.adapter.facts.latent_space.channels
        return frames[::4, ::4, ::4, :channels].permute(3, 0, 1, 2).float() / 255.0

    def encode_caption(self, captions: Sequence[str]) -> list[Tensor]:
        """See :func:`encode_caption`."""
        return [encode_caption(caption) for caption in captions]

    def count_tokens(self, captions: Sequence[str]) -> list[int]:
        """A token a word."""
        return [len(encode_caption(caption)) for caption in captions]

    def export(
        self,
        modules: Mapping[str, nn.Module],
        base: ModelFacts,
        sampling: ValidationRequest,
        latent_shape: tuple[int, int, int, int],
        output: Path,
        dtype: torch.dtype,
    ) -> None:
        """The weights beside the folder's JSON."""
        output.mkdir(parents=True)
        (output / "toy.json").write_text((base.path / "toy.json").read_text(encoding="utf-8"), encoding="utf-8")
        weights = {name: tensor.to(dtype) for name, tensor in modules["denoiser"].state_dict().items()}
        torch.save(weights, output / "denoiser.pt")


def _keeps_the_contract(model: ToyModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
