"""A role: one participant of a run, under a name that only the method gives a meaning to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distill_core.protocols.adapter import Condition


class Role(Protocol):
    """What a method may ask of a role: the operations of its family, on its own modules.

    A frozen role builds no graph: that is the role's own guarantee, not the method's care. A method that needs gradients through a
    frozen network, with respect to its input, asks for them with ``input_gradients=True``.
    """

    @property
    def name(self) -> str:
        """The key under ``roles``."""
        ...

    @property
    def trainable(self) -> bool:
        """Whether this run trains it."""
        ...

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Its modules, by the family's names."""
        ...

    def add_noise(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep_B: Tensor) -> Tensor:
        """x_t = (1 - σ) x0 + σ ε. Keeps the graph of ``clean_BTCHW``."""
        ...

    def predict_velocity(
        self,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float | None = None,
        input_gradients: bool = False,
    ) -> Tensor:
        """v ≈ ε - x0, float32 [B, T, C, H, W]."""
        ...

    def predict_x0(
        self,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float | None = None,
        input_gradients: bool = False,
    ) -> Tensor:
        """x̂0 = x_t - σ v, float32 [B, T, C, H, W]."""
        ...

    def shift_timestep(self, timestep_B: Tensor) -> Tensor:
        """The run's flow shift applied to timesteps in [0, 1000], float64."""
        ...

    def negative_text(self, size: int) -> Condition:
        """The negative prompt for a batch of ``size``."""
        ...

    def drop_captions(self, text: Condition, dropped_B: Tensor) -> Condition:
        """The empty caption where the mask [B] is true."""
        ...

    def encode_text(self, captions: Sequence[str]) -> Condition:
        """Captions through the family's text encoder."""
        ...

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as uint8 frames [B, F, H, W, 3]."""
        ...

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the modules hold the EMA weights, where the role has an EMA; the trained ones come back bitwise on leaving."""
        ...
