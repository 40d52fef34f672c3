"""Operations of a model family, asked for by name. An adapter offers some of them; a method lists those that it needs.

Shapes: B batch, T latent frames, C channels, H W latent rows and columns. Latents are normalised (mean 0, standard deviation 1 per
channel) and have the one layout [B, T, C, H, W] everywhere outside an adapter. Timesteps are float64 tensors [B] in [0, 1000],
σ = t / 1000 ∈ [0, 1], σ = 1 is pure noise. The convention is rectified flow: x_t = (1 - σ) x0 + σ ε and v = ε - x0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from distill_core.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distill_core.protocols.data import Row

    Modules = Mapping[str, nn.Module]
    """The modules of one role, by the names that the family gives them (e.g. "transformer")."""


class Condition(Protocol):
    """What a prediction is conditioned on. A family's own type: methods pass it on and never look inside."""

    def __len__(self) -> int:
        """The batch size B."""
        ...


@dataclass(frozen=True)
class Batch:
    """One micro-batch as methods see it.

    Attributes:
        text: the captions, encoded; B of them.
        latent_shape: [T, C, H, W] of one sample, known even where there are no clean latents.
        clean_latents: normalised latents [B, T, C, H, W], or None when the data are captions alone.
    """

    text: Condition
    latent_shape: tuple[int, int, int, int]
    clean_latents: Tensor | None = None

    @property
    def size(self) -> int:
        """The batch size B."""
        return len(self.text)

    @property
    def latents(self) -> Tensor:
        """The clean latents [B, T, C, H, W]. Raises DataError when the data are captions alone."""
        if self.clean_latents is None:
            raise DataError(
                "the data hold captions only and this method needs latents; set data.path to a data set that has them"
            )
        return self.clean_latents


@runtime_checkable
class PreparesBatch(Protocol):
    """Operation "prepare_batch"."""

    def prepare_batch(self, rows: Sequence[Row], latent_shape: tuple[int, int, int, int]) -> Batch:
        """Rows of the data set, raw latents and trimmed text, as a normalised batch on the device.

        ``latent_shape`` is the run's [T, C, H, W]: longer latents keep their first T frames; rows that are captions alone give a
        batch of that shape without clean latents.
        """
        ...


@runtime_checkable
class AddsNoise(Protocol):
    """Operation "add_noise"."""

    def add_noise(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep_B: Tensor) -> Tensor:
        """x_t = (1 - σ) x0 + σ ε, with σ = t / 1000."""
        ...


@runtime_checkable
class PredictsVelocity(Protocol):
    """Operation "predict_velocity"."""

    def predict_velocity(
        self,
        modules: Modules,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float = 0.0,
    ) -> Tensor:
        """v ≈ ε - x0, in float32, [B, T, C, H, W]."""
        ...


@runtime_checkable
class PredictsX0(Protocol):
    """Operation "predict_x0"."""

    def predict_x0(
        self,
        modules: Modules,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float = 0.0,
    ) -> Tensor:
        """x̂0 = x_t - σ v, in float32, [B, T, C, H, W]."""
        ...


@runtime_checkable
class ShiftsTimesteps(Protocol):
    """Operation "shift_timestep"."""

    def shift_timestep(self, timestep_B: Tensor) -> Tensor:
        """t' = 1000 s u / (1 + (s - 1) u) with u = t / 1000 and s the run's one flow shift; float64."""
        ...


@runtime_checkable
class HasNegativeText(Protocol):
    """Operation "negative_text"."""

    def negative_text(self, size: int) -> Condition:
        """The negative prompt, encoded once, for a batch of ``size``: the "unconditional" side of guidance."""
        ...


@runtime_checkable
class DropsCaptions(Protocol):
    """Operation "drop_captions"."""

    def drop_captions(self, text: Condition, dropped_B: Tensor) -> Condition:
        """The same captions, with the empty caption where the boolean mask [B] is true."""
        ...


@runtime_checkable
class EncodesText(Protocol):
    """Operation "encode_text"."""

    def encode_text(self, captions: Sequence[str]) -> Condition:
        """Captions through the family's text encoder."""
        ...


@runtime_checkable
class DecodesLatents(Protocol):
    """Operation "decode_latents"."""

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as uint8 frames [B, F, H, W, 3], F = (T - 1) · temporal_stride + 1, H and W in pixels."""
        ...


class Adapter(
    PreparesBatch, AddsNoise, PredictsVelocity, PredictsX0, ShiftsTimesteps, HasNegativeText, DropsCaptions, EncodesText, DecodesLatents,
    Protocol,
):  # fmt: skip
    """A family that offers every operation. One that offers fewer declares fewer, and only methods that need no more run with it."""


OPERATIONS: Mapping[str, type] = {
    "prepare_batch": PreparesBatch,
    "add_noise": AddsNoise,
    "predict_velocity": PredictsVelocity,
    "predict_x0": PredictsX0,
    "shift_timestep": ShiftsTimesteps,
    "negative_text": HasNegativeText,
    "drop_captions": DropsCaptions,
    "encode_text": EncodesText,
    "decode_latents": DecodesLatents,
}
"""Every operation by the name that specs use for it."""
