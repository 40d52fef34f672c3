"""The toy family at run time: a perceptron per latent site that sees the mean over the frames. It has every operation, and no meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from distill_core.errors import PluginError, StreamError
from distill_core.flow.derivative import derivative_along
from distill_core.flow.grids import denoising_grid
from distill_core.flow.guided import GuidedVelocity
from distill_core.flow.stream_clock import StreamClock
from distill_core.flow.walks import by_blocks, euler, flow_map, sde, to_clean
from distill_core.plugins.specs import ModelFacts
from distill_core.protocols.condition import Condition, Prompt
from distill_core.protocols.data import Row
from distill_core.protocols.model import ModelPlugin, ModelRequest
from distill_core.protocols.prediction import Ask, Prediction, Stream
from distill_core.protocols.role import Role
from distill_core.protocols.validator import SampledVideo, ValidationRequest
from distill_core.testing.toy_spec import HIDDEN, TEXT_WIDTH, TOY, ToyOptions

RECORDED = ("sampler", "steps", "timesteps", "guidance_scale")
"""What an export says of how it is to be sampled."""
EXPORTED = "denoiser.pt"
"""The weights of an export; another folder's follow from its seed."""


@dataclass(frozen=True)
class ToyText:
    """Captions as the mean of their tokens, [B, D]."""

    mean_BD: Tensor

    def __len__(self) -> int:
        return self.mean_BD.shape[0]

    def select(self, rows: Tensor) -> ToyText:
        """The captions at ``rows``."""
        return ToyText(self.mean_BD[rows])


@dataclass(frozen=True)
class ToyStream:
    """The frames before: their number, the number kept, and those kept, [B, T, C, H, W]."""

    frames: int
    kept_BTCHW: Tensor

    def __len__(self) -> int:
        return self.kept_BTCHW.shape[0]


class ToyDenoiser(nn.Module):
    """v at each site from its latent, the mean over the frames that are seen, σ, the second time and the caption."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inputs = 2 * channels + 2 + TEXT_WIDTH
        self.layers = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, channels))

    def forward(
        self, x_BTCHW: Tensor, seen_BTCHW: Tensor, sigma_BT: Tensor, until_BT: Tensor, text_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        """v [B, T, C, H, W], and the hidden layer [B, T, D, H, W]."""
        sites = torch.cat([x_BTCHW, seen_BTCHW], dim=2).movedim(2, -1).to(next(self.parameters()).dtype)
        times_BT2 = torch.stack([sigma_BT, until_BT], dim=-1).to(sites)
        text_BTD = text_BD[:, None].expand(-1, times_BT2.shape[1], -1).to(sites)
        condition = torch.cat([times_BT2, text_BTD], dim=-1)[:, :, None, None, :]
        hidden = self.layers[:2](torch.cat([sites, condition.expand(*sites.shape[:-1], -1)], dim=-1))
        velocity_BTCHW: Tensor = self.layers[2](hidden).movedim(-1, 2)
        return velocity_BTCHW.to(x_BTCHW), hidden.movedim(-1, 2).to(x_BTCHW)


class ToyAdapter:
    """Every operation of :mod:`distill_core.protocols.adapter`."""

    def __init__(self, facts: ModelFacts, options: ToyOptions, device: torch.device) -> None:
        self.facts = facts
        self.options = options
        self.device = device
        space = facts.latent_space
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 1, -1, 1, 1) for v in (space.mean, space.std))

    # Conditions

    def prepare_condition(self, rows: Sequence[Row]) -> ToyText:
        """The rows' captions as they are stored."""
        return ToyText(torch.stack([row.text_LD.float().mean(0) for row in rows]).to(self.device))

    def encode_condition(self, prompts: Sequence[Prompt]) -> ToyText:
        """The captions' lengths and first letters, as numbers."""
        return ToyText(torch.stack([encode_caption(prompt.text).mean(0) for prompt in prompts]).to(self.device))

    def unconditional(self, condition: Condition) -> ToyText:
        """Zeros."""
        return ToyText(torch.zeros(len(condition), TEXT_WIDTH, device=self.device))

    def unconditional_where(self, condition: Condition, mask_B: Tensor) -> ToyText:
        """Zeros where asked for."""
        return self.drop_condition(condition, mask_B)

    def drop_condition(self, condition: Condition, dropped_B: Tensor) -> ToyText:
        """Zeros where dropped."""
        assert isinstance(condition, ToyText)
        return ToyText(torch.where(dropped_B[:, None], 0.0, condition.mean_BD))

    # Predictions

    def flow_shift(self, latent_shape: tuple[int, int, int, int]) -> float:
        """The run's, whatever the shape."""
        return self.options.flow_shift

    def predict(
        self, modules: Mapping[str, nn.Module], noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """v and whatever else is asked for."""
        assert isinstance(condition, ToyText)
        if ask.attn_kind not in TOY.attention:
            raise PluginError(f"the toy has no {ask.attn_kind!r} attention; it has {', '.join(TOY.attention)}")
        condition_BD = condition.mean_BD

        def velocity_at(x: Tensor, sigma: Tensor, until: Tensor | None = None) -> tuple[Tensor, Tensor]:
            """The velocity, and the hidden layer."""
            sigma_BT = _of_frames(sigma, x)
            until_BT = torch.zeros_like(sigma_BT) if until is None else _of_frames(sigma - until, x)
            output: tuple[Tensor, Tensor] = modules["denoiser"](x, self._seen(x, ask), sigma_BT, until_BT, condition_BD)
            return output

        at = (noisy_BTCHW, timestep / 1000.0, *(() if ask.until is None else (ask.until / 1000.0,)))
        derivative = None
        if ask.along is not None:
            derivative = derivative_along(lambda *inputs: velocity_at(*inputs)[0], at, ask.along)
        velocity_BTCHW, hidden = velocity_at(*at)
        return Prediction(
            velocity_BTCHW, tuple(hidden for _ in ask.features), derivative, self._stream(noisy_BTCHW, ask)
        )

    def _stream(self, x_BTCHW: Tensor, ask: Ask) -> ToyStream | None:
        if not ask.store:
            return None
        before = _own(ask.stream, len(x_BTCHW))
        kept = x_BTCHW.detach() if before is None else torch.cat([before.kept_BTCHW, x_BTCHW.detach()], dim=1)
        if ask.window is not None and kept.shape[1] > ask.window + ask.sink:
            kept = torch.cat([kept[:, : ask.sink], kept[:, kept.shape[1] - ask.window :]], dim=1)
        return ToyStream(x_BTCHW.shape[1] + (0 if before is None else before.frames), kept)

    def _seen(self, x_BTCHW: Tensor, ask: Ask) -> Tensor:
        """The mean over the frames that each frame sees: those of the stream, of the blocks before its own, of its own."""
        batch, frames = x_BTCHW.shape[:2]
        before = _own(ask.stream, batch)
        past = x_BTCHW if ask.clean is None else ask.clean
        block_T = torch.arange(frames, device=x_BTCHW.device) // (ask.blocks or frames)
        same, earlier = block_T[:, None] == block_T[None, :], block_T[:, None] > block_T[None, :]
        total = torch.einsum("ts,bschw->btchw", same.to(x_BTCHW), x_BTCHW)
        total = total + torch.einsum("ts,bschw->btchw", earlier.to(past), past)
        count = (same.sum(1) + earlier.sum(1)).to(x_BTCHW)
        if before is not None:
            total, count = total + before.kept_BTCHW.sum(1, keepdim=True), count + before.kept_BTCHW.shape[1]
        return total / count.view(1, -1, 1, 1, 1)

    # Pixels

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """The first channel as grey, each latent site a block of pixels, uint8 [B, F, H, W, 3]."""
        grey_BFHW = self._grown((latents_BTCHW[:, :, 0].clamp(-1, 1) * 127.5 + 127.5).to(torch.uint8))
        return grey_BFHW[..., None].expand(-1, -1, -1, -1, 3)

    def decode_pixels(self, latents_BTCHW: Tensor) -> Tensor:
        """The same in floats [B, F, 3, H, W], not clamped, with the graph."""
        grey_BFHW = self._grown(latents_BTCHW[:, :, 0] / 2.0 + 0.5)
        return grey_BFHW[:, :, None].expand(-1, -1, 3, -1, -1)

    def encode_pixels(self, pixels_BFCHW: Tensor) -> Tensor:
        """Every fourth pixel of every fourth frame, normalised, with the graph."""
        space = self.facts.latent_space
        raw = pixels_BFCHW[
            :, :: space.temporal_stride, : space.channels, :: space.spatial_stride, :: space.spatial_stride
        ]
        return (raw - self._mean) / self._std

    def _grown(self, grey_BTHW: Tensor) -> Tensor:
        """Each latent site as a block of pixels, [B, F, H', W']."""
        space = self.facts.latent_space
        frames = [0] + [1 + t for t in range(grey_BTHW.shape[1] - 1) for _ in range(space.temporal_stride)]
        return (
            grey_BTHW[:, frames].repeat_interleave(space.spatial_stride, 2).repeat_interleave(space.spatial_stride, 3)
        )


def _own(stream: Stream | None, batch: int) -> ToyStream | None:
    """The stream as the toy's own. Raises StreamError for one of another batch."""
    assert stream is None or isinstance(stream, ToyStream)
    if stream is not None and len(stream) != batch:
        raise StreamError(f"the stream is of {len(stream)} samples, the prediction of {batch}; select its rows")
    return stream


def _of_frames(values: Tensor, x_BTCHW: Tensor) -> Tensor:
    """[B] or [B, T] as [B, T]."""
    return values if values.ndim == 2 else values[:, None].expand(-1, x_BTCHW.shape[1])


def encode_caption(caption: str) -> Tensor:
    """A caption as [L, D] numbers that follow from its letters."""
    words = caption.split() or [""]
    return torch.tensor([[len(word) / 8, *(ord(c) / 128 for c in (word + "   ")[:3])] for word in words])


@dataclass(frozen=True)
class ToyNoise:
    """Draws of one video."""

    shape: tuple[int, ...]
    generator: torch.Generator

    def draw(self) -> Tensor:
        """The next, [1, T, C, H, W]."""
        return torch.randn((1, *self.shape), generator=self.generator)


class ToySampler:
    """Renoising (sde) or Euler (ode) over the request's timesteps, at once or by blocks. Without guidance."""

    def __init__(self, adapter: ToyAdapter) -> None:
        self.adapter = adapter

    @torch.no_grad()
    def sample(
        self, role: Role, request: ValidationRequest, latent_shape: tuple[int, int, int, int]
    ) -> Iterator[SampledVideo]:
        """One video per prompt and seed."""
        steps = tuple(1000.0 * (1 - k / (request.steps or 1)) for k in range(request.steps or 1))
        if request.timesteps is not None:
            steps = denoising_grid(request.timesteps)
        for index, prompt in enumerate(request.prompts or ()):
            for seed in request.seeds_of(index):
                generator = torch.Generator().manual_seed(seed)
                text = self.adapter.encode_condition([Prompt(prompt)])
                velocity = GuidedVelocity(role, replace(request, guidance_scale=1.0), text)

                def walk(frames: int, velocity: GuidedVelocity = velocity, g: torch.Generator = generator) -> Tensor:
                    """So many frames."""
                    noise = ToyNoise((frames, *latent_shape[1:]), g)
                    if request.sampler == "sde":
                        return sde(to_clean(velocity) if request.until else velocity, steps, noise)
                    return flow_map(velocity, steps, noise) if request.until else euler(velocity, steps, noise)

                frames, clock = latent_shape[0], StreamClock(self.adapter.decode_latents)
                made = walk if request.blocks is None else clock.watched(walk)
                x = by_blocks(frames, frames if request.blocks is None else request.blocks, made, velocity.remember)
                shown = self.adapter.decode_latents(x)[0]
                yield SampledVideo(prompt, seed, shown, velocity.evaluations, clock.times)


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
        trained = request.facts.path / EXPORTED
        if trained.is_file():
            denoiser.load_state_dict(torch.load(trained, weights_only=True))
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
        content = json.loads((base.path / "toy.json").read_text(encoding="utf-8"))
        content["latent_shape"] = list(latent_shape)
        content["sampling"] = {key: getattr(sampling, key) for key in RECORDED}
        (output / "toy.json").write_text(json.dumps(content), encoding="utf-8")
        weights = {name: tensor.to(dtype) for name, tensor in modules["denoiser"].state_dict().items()}
        torch.save(weights, output / EXPORTED)


def _keeps_the_contract(model: ToyModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
