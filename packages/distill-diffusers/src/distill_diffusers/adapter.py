"""The operations of a family of diffusers pipelines, but for how its denoiser is called and its captions are packed.

The one place where latents change between the core's layout [B, T, C, H, W] and diffusers' [B, C, T, H, W]. Knows no method, no rollout
and no role name. B batch, T latent frames, C channels, H W latent rows and columns, L tokens, D text width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distill_core.errors import ConfigError, DataError, Problem
from distill_core.protocols import Ask, Condition, Prediction, Prompt, Row
from distill_core.protocols.adapter import refuse_undeclared
from distill_core.transfer import onto_device, to_device
from distill_diffusers.caption_store import CaptionStore
from distill_diffusers.captions import CaptionEncoder
from distill_diffusers.codec import VideoCodec
from distill_diffusers.conditions import TOKENS, CaptionCondition, CaptionPadding, CaptionTensors, NamedTensors
from distill_diffusers.experts import in_order, rows_of_experts
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.features import Layers, on_grid
from distill_diffusers.kept_captions import KeptCaptions
from distill_diffusers.precision import forward_precision
from distill_diffusers.schedulers import flow_shift_of
from distill_diffusers.spec import OPERATIONS

if TYPE_CHECKING:
    from distill_core.protocols.adapter import Modules

CAPTIONS_AT_ONCE = 64
"""Captions that are encoded while the text encoder is loaded, of those that will be asked for again."""

ConditionT = TypeVar("ConditionT", bound=CaptionCondition)

Velocity = Callable[[nn.Module, Tensor, Tensor, NamedTensors], Tensor]
"""(denoiser, x_t [B, C, T, H, W], t float32 [B] in [0, 1000], captions) to v ≈ ε - x0, [B, C, T, H, W]."""


class DiffusersAdapter(ABC, Generic[ConditionT]):
    """An :class:`distill_core.protocols.Adapter` with every operation of :data:`OPERATIONS`.

    Attributes:
        facts: the folder that lends text encoder and VAE; it fixes the latent space.
        compute_dtype: the dtype of a forward pass; everything outside it is float32 or float64.
        device: where batches live.
        boundaries: of each role's first expert, the timestep from which on it denoises. By module, because members of a family that
            share a latent space may meet in one run, with experts and without.
    """

    def __init__(
        self,
        facts: DiffusersFacts,
        captions: CaptionEncoder,
        codec: VideoCodec,
        *,
        negative_prompt: str,
        compute_dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.facts = facts
        self.compute_dtype = compute_dtype
        self.device = device
        self.boundaries: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()
        self._captions = captions
        self._kept_captions = KeptCaptions(captions, foreseen=(negative_prompt, ""))
        self._codec = codec
        self._negative_prompt = negative_prompt
        statistics = torch.tensor([facts.latent_space.mean, facts.latent_space.std], device=device)
        self._mean_C11, self._std_C11 = statistics.view(2, -1, 1, 1)

    # What a family says

    @abstractmethod
    def pack(self, captions: Sequence[CaptionTensors]) -> ConditionT:
        """Captions, none longer than the padded length, as one batch on the device."""
        ...

    @abstractmethod
    def mixed(self, condition: Condition, other: ConditionT, mask_B: Tensor) -> ConditionT:
        """``other`` (of size 1 or B) where the mask is true, ``condition`` elsewhere."""
        ...

    @abstractmethod
    def velocity(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep_B: Tensor, condition: Condition, ask: Ask
    ) -> Tensor:
        """v ≈ ε - x0, float32 [B, T, C, H, W], by one denoiser."""
        ...

    # Conditions

    def prepare_condition(self, rows: Sequence[Row]) -> ConditionT:
        """The rows' text, and what the family declares besides (``ModelFacts.columns``), packed, on the device.

        Raises DataError for rows that do not fit.
        """
        names = [column.name for column in self.facts.columns]
        return self.pack([{TOKENS: self._trimmed(row), **{name: row.tensors[name] for name in names}} for row in rows])

    def _trimmed(self, row: Row) -> Tensor:
        """A row's text without padding that was stored with it."""
        tokens, width = row.text_LD.shape
        if width != self.facts.text_width:
            raise DataError(
                f"row {row.id}: its text has {width} features, the model takes {self.facts.text_width}; encode it anew"
            )
        # From the end, which is seldom padding; by numpy, as torch takes ten times as long for each row of each batch.
        text = row.text_LD.float().numpy()
        tokens = next((end for end in range(tokens, 0, -1) if text[end - 1].any()), 0)
        if tokens > self._captions.length:
            raise DataError(
                f"row {row.id}: its text has {tokens} tokens, the model attends {self._captions.length}; "
                f"encode it anew with `distill data encode --text-length {self._captions.length}`"
            )
        return row.text_LD[:tokens]

    def encode_condition(self, prompts: Sequence[Prompt]) -> ConditionT:
        """Captions through the text encoder, which stays loaded for the next. Raises ConfigError for pictures."""
        packed = self.pack([self._captions(prompt.text) for prompt in prompts])
        self.pictured(packed, prompts)
        return packed

    def kept_texts(self, captions: Sequence[str]) -> Iterator[ConditionT]:
        """Captions that will be asked for again, each by itself: encoded once, then kept; the text encoder is let go."""
        for start in range(0, len(captions), CAPTIONS_AT_ONCE):
            for caption in self._kept_captions(captions[start : start + CAPTIONS_AT_ONCE]):
                yield self.pack([caption])

    def pictured(self, condition: Condition, prompts: Sequence[Prompt]) -> Condition:
        """Captions that are packed, with the pictures of their prompts, which a family of text alone refuses (ConfigError)."""
        if any(prompt.first_frame is not None or prompt.last_frame is not None for prompt in prompts):
            raise ConfigError([Problem("", "this model makes videos from text alone; leave the pictures out")])
        return condition

    def with_given(self, latents_BTCHW: Tensor, condition: Condition) -> Tensor:
        """Sampled latents, in which the frames that a condition gives are as they were given."""
        return latents_BTCHW

    def encode_ahead(self, captions: Sequence[str], store: CaptionStore | None) -> None:
        """Encode captions that :meth:`kept_texts` will be asked for, the negative and the empty one, but for those that ``store`` has."""
        self._kept_captions.store = store
        self._kept_captions.ahead(captions)

    def unconditional(self, condition: Condition) -> ConditionT:
        """The negative prompt for a batch of the same size; encoded at the first call, then kept."""
        return self._negative.repeated(len(condition))

    def unconditional_where(self, condition: Condition, mask_B: Tensor) -> ConditionT:
        """The negative prompt where the mask is true; encoded at the first call, then kept."""
        return self.mixed(condition, self._negative, mask_B)

    def drop_condition(self, condition: Condition, dropped_B: Tensor) -> ConditionT:
        """The empty caption where the mask is true; encoded at the first call, then kept."""
        return self.mixed(condition, self._empty, dropped_B)

    @cached_property
    def _negative(self) -> ConditionT:
        return next(self.kept_texts([self._negative_prompt]))

    @cached_property
    def _empty(self) -> ConditionT:
        return next(self.kept_texts([""]))

    # Predictions

    def boundary(self, modules: Modules) -> float | None:
        """The timestep between a role's two experts, if it has two."""
        return self.boundaries.get(next(iter(modules.values())))

    def flow_shift(self, latent_shape: tuple[int, int, int, int]) -> float:
        """The run's, or what the folder's scheduler says of latents of that size."""
        return flow_shift_of(self.facts, latent_shape)

    @property
    def operations(self) -> frozenset[str]:
        """What it offers."""
        return OPERATIONS

    def predicted(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep_B: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """What is asked for, by one denoiser."""
        return Prediction(self.velocity(denoiser, noisy_BTCHW, timestep_B, condition, ask))

    def predict(
        self, modules: Modules, noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """v ≈ ε - x0, float32 [B, T, C, H, W]. Of two experts, each sample is predicted by the one that its timestep belongs to.

        Raises PluginError if anything beyond the velocity is asked for.
        """
        refuse_undeclared(ask, timestep, self.operations)
        first = next(iter(modules.values()))
        if len(modules) == 1:
            return self.predicted(first, noisy_BTCHW, timestep, condition, ask)
        rows = rows_of_experts(tuple(modules), timestep, self.boundaries[first])
        parts = []
        for expert, own in ((modules[name], own) for name, own in rows.items() if own):
            if len(own) == len(noisy_BTCHW):
                return self.predicted(expert, noisy_BTCHW, timestep, condition, ask)
            chosen = to_device(torch.tensor(own), noisy_BTCHW.device)
            parts.append(self.predicted(expert, noisy_BTCHW[chosen], timestep[own], condition.select(chosen), ask))
        ordered = partial(in_order, rows=tuple(rows.values()))
        features = zip(*(part.features for part in parts), strict=True)
        return Prediction(ordered([part.velocity for part in parts]), tuple(map(ordered, features)))

    def precision(self) -> torch.autocast:
        """Inside, a forward pass computes in the run's dtype."""
        return forward_precision(self.device, self.compute_dtype)

    # Pixels

    def decode_latents(self, latents_BTCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalised latents as uint8 frames [B, F, H, W, 3] on the device.

        ``generator``: the video's own, for a VAE that draws; None draws the same for each.
        """
        raw_BCTHW = self.raw(latents_BTCHW).transpose(1, 2)
        return torch.stack([self._codec.decode(raw_CTHW, generator) for raw_CTHW in raw_BCTHW])

    def raw(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as the VAE has them, float32 on the device."""
        # Divided by 1/std rather than multiplied by std, as diffusers does: the last bit is the same as there.
        raw_BTCHW: Tensor = latents_BTCHW.to(self.device).float() / (1.0 / self._std_C11) + self._mean_C11
        return raw_BTCHW

    def normalised(self, raw_BTCHW: Tensor) -> Tensor:
        """The VAE's latents with mean 0 and standard deviation 1 per channel."""
        latents_BTCHW: Tensor = (raw_BTCHW - self._mean_C11) / self._std_C11
        return latents_BTCHW


class CaptionAdapter(DiffusersAdapter[NamedTensors]):
    """The adapter of a family that says no more than how its denoiser is called.

    ``padding`` is how captions become a batch, ``velocity`` the call.
    """

    def __init__(
        self,
        facts: DiffusersFacts,
        captions: CaptionEncoder,
        codec: VideoCodec,
        padding: CaptionPadding,
        velocity: Velocity,
        *,
        negative_prompt: str,
        compute_dtype: torch.dtype,
        layers: Layers | None = None,
    ) -> None:
        super().__init__(
            facts,
            captions,
            codec,
            negative_prompt=negative_prompt,
            compute_dtype=compute_dtype,
            device=padding.device,
        )
        self._padding = padding
        self._velocity = velocity
        self._layers = layers

    def pack(self, captions: Sequence[CaptionTensors]) -> NamedTensors:
        """Captions, padded."""
        return self._padding.pack(captions)

    def mixed(self, condition: Condition, other: NamedTensors, mask_B: Tensor) -> NamedTensors:
        """``other`` where the mask is true."""
        return self._padding.mixed(_named(condition), other, mask_B)

    @property
    def operations(self) -> frozenset[str]:
        """What every family offers, and features where the family says where its layers are."""
        return OPERATIONS if self._layers is None else OPERATIONS | {"features"}

    def predicted(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep_B: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """The velocity, and the features that are asked for."""
        if self._layers is None or not ask.features:
            return super().predicted(denoiser, noisy_BTCHW, timestep_B, condition, ask)
        with self._layers.seen(denoiser, ask.features) as seen:
            velocity_BTCHW = self.velocity(denoiser, noisy_BTCHW, timestep_B, condition, ask)
        frames, _, rows, columns = noisy_BTCHW.shape[1:]
        by_frame, by_row, by_column = self.facts.patch
        grid = frames // by_frame, rows // by_row, columns // by_column
        return Prediction(velocity_BTCHW, tuple(on_grid(seen[layer], grid) for layer in ask.features))

    def velocity(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep_B: Tensor, condition: Condition, ask: Ask
    ) -> Tensor:
        """The family's call, in the run's precision. Raises ConfigError for attention that is not dense."""
        if ask.attn_kind != "dense":
            message = f"is {ask.attn_kind!r}, and this family attends densely; set attn_kind: dense"
            raise ConfigError([Problem("method_config.attn_kind", message)])
        timestep_B = onto_device(timestep_B.float(), noisy_BTCHW.device)
        with self.precision():
            velocity_BCTHW = self._velocity(denoiser, noisy_BTCHW.transpose(1, 2), timestep_B, _named(condition))
        return velocity_BCTHW.to(noisy_BTCHW.dtype).transpose(1, 2)


def _named(condition: Condition) -> NamedTensors:
    assert isinstance(condition, NamedTensors), f"expected named tensors, got {type(condition).__name__}"
    return condition
