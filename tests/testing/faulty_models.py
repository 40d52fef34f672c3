"""Families that break the contract, each in one place; otherwise they are the toy family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from distill_core.plugins.specs import ModelFacts
from distill_core.protocols import Ask, Prediction, Prompt, Row
from distill_core.testing.toy import ToyAdapter, ToyModel, ToySampler, ToyText
from distill_core.testing.toy_spec import TEXT_WIDTH
from distill_core.testing.toy_spec import inspect as look


class Family(ToyModel):
    """The toy family with another adapter or sampler."""

    adapter_type: type[ToyAdapter] = ToyAdapter
    sampler_type: type[ToySampler] = ToySampler

    def __init__(self, facts: ModelFacts, options: Any, device: torch.device, compute_dtype: torch.dtype) -> None:
        super().__init__(facts, options, device, compute_dtype)
        self.adapter = self.adapter_type(facts, options, device)
        self.sampler = self.sampler_type(self.adapter)


def inspect(path: str) -> ModelFacts:
    """In a module that imports torch."""
    return look(path)


# Encoding


class DrawsLatents(Family):
    """The posterior is drawn from, past any key."""

    def encode_video(self, frames: Tensor) -> Tensor:
        latent = super().encode_video(frames)
        return latent + torch.randn(latent.shape)


class PadsCaptions(Family):
    """Captions at the length of the longest."""

    def encode_caption(self, captions: Sequence[str]) -> list[Tensor]:
        texts = super().encode_caption(captions)
        return list(nn.utils.rnn.pad_sequence(texts, batch_first=True))


class HalfLatents(Family):
    def encode_video(self, frames: Tensor) -> Tensor:
        return super().encode_video(frames).half()


class CountsLetters(Family):
    def count_tokens(self, captions: Sequence[str]) -> list[int]:
        return [len(caption) for caption in captions]


# Conditions


class KeepingAdapter(ToyAdapter):
    """Its encoder stays for good."""

    encoder: nn.Module | None = None

    def unconditional(self, condition: ToyText) -> ToyText:
        if self.encoder is None:
            with torch.random.fork_rng(devices=[]):
                self.encoder = nn.Linear(TEXT_WIDTH, TEXT_WIDTH)
            self.negative = 0.0 * self.encoder(torch.zeros(1, TEXT_WIDTH)).detach()
        return ToyText(self.negative.expand(len(condition), -1))


class EveryStepAdapter(ToyAdapter):
    """Encodes the negative prompt again and again."""

    def unconditional(self, condition: ToyText) -> ToyText:
        nn.Identity()(torch.zeros(1))
        return super().unconditional(condition)


class OneNegativeAdapter(ToyAdapter):
    """A batch of one, whatever the batch."""

    def unconditional(self, condition: ToyText) -> ToyText:
        return ToyText(torch.zeros(1, TEXT_WIDTH))


class DropsAllAdapter(ToyAdapter):
    """Drops every row if it drops one."""

    def drop_condition(self, condition: ToyText, dropped_B: Tensor) -> ToyText:
        return super().drop_condition(condition, dropped_B | dropped_B.any())


class AllUnconditionalAdapter(ToyAdapter):
    """Every row is unconditional if one is."""

    def unconditional_where(self, condition: ToyText, mask_B: Tensor) -> ToyText:
        return self.unconditional(condition)


class EmptyForNegativeAdapter(ToyAdapter):
    """The empty caption where the negative prompt belongs."""

    def unconditional(self, condition: ToyText) -> ToyText:
        return ToyText(torch.full((len(condition), TEXT_WIDTH), 0.5))


class OtherWordsAdapter(ToyAdapter):
    """Prompts are encoded otherwise than data."""

    def encode_condition(self, prompts: Sequence[Prompt]) -> ToyText:
        return super().encode_condition([replace(prompt, text=prompt.text.upper()) for prompt in prompts])


class NeedsLatentsAdapter(ToyAdapter):
    """Captions alone are not enough."""

    def prepare_condition(self, rows: Sequence[Row]) -> ToyText:
        scale = torch.stack([row.latent_CTHW.mean() for row in rows])
        return ToyText(super().prepare_condition(rows).mean_BD + 0.0 * scale[:, None])


class StuckText(ToyText):
    def select(self, rows: Tensor) -> ToyText:
        return StuckText(self.mean_BD[: len(rows)])


class StuckAdapter(ToyAdapter):
    """Its conditions select the first rows, whichever are asked for."""

    def prepare_condition(self, rows: Sequence[Row]) -> ToyText:
        return StuckText(super().prepare_condition(rows).mean_BD)


# Predictions


class ChangedAdapter(ToyAdapter):
    """Changes what comes of a prediction."""

    def predict(self, modules: Any, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> Prediction:
        return self.changed(super().predict(modules, noisy, timestep, condition, ask), ask)

    def changed(self, answer: Prediction, ask: Ask) -> Prediction:
        return answer


class Bfloat16Adapter(ChangedAdapter):
    def changed(self, answer: Prediction, ask: Ask) -> Prediction:
        return replace(answer, velocity=answer.velocity.bfloat16())


class BatchNormAdapter(ChangedAdapter):
    def changed(self, answer: Prediction, ask: Ask) -> Prediction:
        return replace(answer, velocity=answer.velocity - answer.velocity.mean(0, keepdim=True))


class DetachingAdapter(ChangedAdapter):
    def changed(self, answer: Prediction, ask: Ask) -> Prediction:
        return replace(answer, features=tuple(each.detach() for each in answer.features))


class FlatFeaturesAdapter(ChangedAdapter):
    def changed(self, answer: Prediction, ask: Ask) -> Prediction:
        return replace(answer, features=tuple(each.flatten(2) for each in answer.features))


class PerTimestepAdapter(ChangedAdapter):
    """A derivative per unit of the timestep."""

    def changed(self, answer: Prediction, ask: Ask) -> Prediction:
        return answer if answer.derivative is None else replace(answer, derivative=answer.derivative / 1000.0)


class NoStreamAdapter(ChangedAdapter):
    def changed(self, answer: Prediction, ask: Ask) -> Prediction:
        return replace(answer, stream=None)


class AskedAdapter(ToyAdapter):
    """Changes what a prediction is asked with."""

    def predict(self, modules: Any, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> Prediction:
        return super().predict(modules, *self.other(noisy, timestep, condition, ask))

    def other(self, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> tuple[Any, ...]:
        return noisy, timestep, condition, ask


class FirstFrameAdapter(AskedAdapter):
    """Every frame at the first one's timestep."""

    def other(self, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> tuple[Any, ...]:
        return noisy, timestep if timestep.ndim == 1 else timestep[:, 0], condition, ask


class BothWaysAdapter(AskedAdapter):
    """Blocks that see what comes after them."""

    def other(self, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> tuple[Any, ...]:
        return noisy, timestep, condition, replace(ask, blocks=None)


class NoisyContextAdapter(AskedAdapter):
    """Clean frames that nobody looks at."""

    def other(self, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> tuple[Any, ...]:
        return noisy, timestep, condition, replace(ask, clean=None)


class WritingAdapter(AskedAdapter):
    def other(self, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> tuple[Any, ...]:
        if not noisy.requires_grad:
            noisy.clamp_(-1.0, 1.0)
        return noisy, timestep, condition, ask


class ForgivingAdapter(AskedAdapter):
    """Any kind of attention is dense."""

    def other(self, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> tuple[Any, ...]:
        return noisy, timestep, condition, replace(ask, attn_kind="dense")


class NoGradientAdapter(ToyAdapter):
    """Frozen for itself, too."""

    def predict(self, modules: Any, noisy: Tensor, *rest: Any) -> Prediction:
        (parameter, *_) = modules["denoiser"].parameters()
        with torch.set_grad_enabled(torch.is_grad_enabled() and parameter.requires_grad):
            return super().predict(modules, noisy, *rest)


class AnyStreamAdapter(ToyAdapter):
    """A stream of any batch will do."""

    def predict(self, modules: Any, noisy: Tensor, timestep: Tensor, condition: Any, ask: Ask) -> Prediction:
        if ask.stream is not None and len(ask.stream) != len(noisy):
            ask = replace(ask, stream=None)
        return super().predict(modules, noisy, timestep, condition, ask)


# Roles


class SharesWeights(Family):
    """One denoiser for all."""

    kept: Mapping[str, nn.Module] | None = None

    def load_modules(self, request: Any) -> dict[str, nn.Module]:
        if self.kept is None:
            self.kept = super().load_modules(request)
        return dict(self.kept)


class ThriftyDenoiser(nn.Module):
    """A denoiser whose second run is another one."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.runs = 0

    def run(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        self.runs += 1
        velocity, hidden = self.denoiser(*inputs)
        return velocity * self.runs, hidden

    def forward(self, *inputs: Tensor) -> Any:
        from torch.utils.checkpoint import checkpoint

        self.runs = 0
        return checkpoint(self.run, *inputs, use_reentrant=False, determinism_check="none")


class ForgetsItsCall(Family):
    def load_modules(self, request: Any) -> dict[str, nn.Module]:
        modules = super().load_modules(request)
        if not request.gradient_checkpointing:
            return modules
        return {"denoiser": ThriftyDenoiser(modules["denoiser"])}


# Pixels


class SmallFramesAdapter(ToyAdapter):
    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        return super().decode_latents(latents_BTCHW)[:, ::2]


class OtherPicturesAdapter(ToyAdapter):
    """Pixels in [-1, 1]."""

    def decode_pixels(self, latents_BTCHW: Tensor) -> Tensor:
        return super().decode_pixels(latents_BTCHW) * 2.0 - 1.0


class GraphlessAdapter(ToyAdapter):
    @torch.no_grad()
    def encode_pixels(self, pixels_BFCHW: Tensor) -> Tensor:
        return super().encode_pixels(pixels_BFCHW)


def __getattr__(name: str) -> type[Family]:
    """``NameOfAnAdapterFamily``: the toy family with that adapter."""
    if not name.endswith("AdapterFamily"):
        raise AttributeError(name)
    return type(name, (Family,), {"adapter_type": globals()[name.removesuffix("Family")]})
