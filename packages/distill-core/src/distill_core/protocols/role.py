"""A role: one participant of a run, under a name that only the method gives a meaning to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from distill_core.protocols.prediction import Ask

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distill_core.protocols.condition import Condition, Prompt
    from distill_core.protocols.prediction import Prediction

PLAIN = Ask()
"""The velocity under dense attention, and nothing else."""


class Role(Protocol):
    """What a method may ask of a role: the operations of its family that the method declared, on the role's own modules.

    A frozen role builds no graph: that is the role's own guarantee, not the method's care. A method that needs gradients through a
    frozen network, with respect to its input, asks for them with ``input_gradients=True``. Asking what ``RoleNeed.operations`` does not
    declare is a PluginError. Timesteps are float64 [B] or [B, T] in [0, 1000].
    """

    @property
    def name(self) -> str:
        """The key under ``roles``."""
        ...

    @property
    def family(self) -> str:
        """Its model family."""
        ...

    @property
    def trainable(self) -> bool:
        """Whether this run trains it."""
        ...

    @property
    def boundary(self) -> float | None:
        """The timestep from which on the first of its two experts denoises; None where there is one alone."""
        ...

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Its modules, by the family's names."""
        ...

    @property
    def module(self) -> nn.Module:
        """The module of a role that is the method's own (``RoleNeed.module``)."""
        ...

    def anywhere(self, wanted: bool) -> bool:
        """Whether a prediction is wanted by any process, where it depends on a process's own rows whether it is made.

        Where the weights lie on several processes in parts, all of them make a prediction or none does: then every process has to ask, and
        one that has no row for a prediction that others make has to make it of any row, with no weight in what follows. ``wanted`` itself
        where the weights are whole.
        """
        ...

    def predict(
        self,
        noisy_BTCHW: Tensor,
        timestep: Tensor,
        condition: Condition,
        ask: Ask = PLAIN,
        *,
        input_gradients: bool = False,
    ) -> Prediction:
        """v ≈ ε - x0, float32 [B, T, C, H, W], and whatever else is asked for."""
        ...

    def predict_velocity(
        self,
        noisy_BTCHW: Tensor,
        timestep: Tensor,
        condition: Condition,
        ask: Ask = PLAIN,
        *,
        input_gradients: bool = False,
    ) -> Tensor:
        """v ≈ ε - x0, float32 [B, T, C, H, W]."""
        ...

    def predict_x0(
        self,
        noisy_BTCHW: Tensor,
        timestep: Tensor,
        condition: Condition,
        ask: Ask = PLAIN,
        *,
        input_gradients: bool = False,
    ) -> Tensor:
        """x̂0 = x_t - σ v, float32 [B, T, C, H, W]."""
        ...

    def add_noise(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep: Tensor) -> Tensor:
        """x_t = (1 - σ) x0 + σ ε. Keeps the graph of ``clean_BTCHW``; needs no operation of a family."""
        ...

    def shift_timestep(self, timestep: Tensor, latent_shape: tuple[int, int, int, int] | None = None) -> Tensor:
        """The flow shift of samples of [T, C, H, W] on timesteps in [0, 1000], float64. None: the shape that the run samples at."""
        ...

    def unconditional(self, condition: Condition) -> Condition:
        """The "unconditional" side of guidance: the negative prompt, everything but the caption kept."""
        ...

    @property
    def guides_at_once(self) -> bool:
        """Whether both sides of guidance are best asked in one pass, by :meth:`unconditional_where`: each pass has its weights come from
        host memory, or from other processes. Where it is false, a method asks the sides one after the other."""
        ...

    def unconditional_where(self, condition: Condition, mask_B: Tensor) -> Condition:
        """The unconditional side where the mask [B] is true; for a role that guides at once, and declared as "unconditional"."""
        ...

    def drop_condition(self, condition: Condition, dropped_B: Tensor) -> Condition:
        """The empty caption where the mask [B] is true."""
        ...

    def encode_condition(self, prompts: Sequence[Prompt]) -> Condition:
        """Prompts through the family's encoders."""
        ...

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as uint8 frames [B, F, H', W', 3]."""
        ...

    def decode_pixels(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as float32 frames [B, F, 3, H', W'] in [0, 1], with the graph."""
        ...

    def encode_pixels(self, pixels_BFCHW: Tensor) -> Tensor:
        """float frames [B, F, 3, H', W'] in [0, 1] as normalised latents [B, T, C, H, W], with the graph."""
        ...

    def extension(self, name: str) -> Callable[..., object]:
        """An operation of the family's own, whose name has a dot, on this role's modules."""
        ...

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the modules hold the EMA weights; the trained ones come back bitwise on leaving. A PluginError without an EMA."""
        ...
