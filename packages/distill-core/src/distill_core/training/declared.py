"""A role as its method sees it: it answers what the method declared, and refuses the rest by name.

A method that asks what it did not declare would work with the families that happen to offer it and fail in the middle of a run with
any other; so it works with none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from torch import Tensor, nn

from distill_core.errors import PluginError
from distill_core.plugins.specs import RoleNeed
from distill_core.protocols.condition import Condition, Prompt
from distill_core.protocols.prediction import Ask, Prediction
from distill_core.protocols.role import PLAIN, Role
from distill_core.training.roles import RoleHandle


class DeclaredRole:
    """The :class:`distill_core.protocols.Role` that a method is given."""

    def __init__(self, role: RoleHandle, need: RoleNeed) -> None:
        self._role = role
        self._need = need

    @property
    def name(self) -> str:
        """The key under ``roles``."""
        return self._role.name

    @property
    def family(self) -> str:
        """Its model family."""
        return self._role.family

    @property
    def trainable(self) -> bool:
        """Whether this run trains it."""
        return self._role.trainable

    @property
    def boundary(self) -> float | None:
        """The timestep between its two experts, if it has two."""
        return self._role.boundary

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Its modules, by the family's names."""
        return self._role.modules

    @property
    def module(self) -> nn.Module:
        """The module of a role that is the method's own."""
        return self._role.module

    def anywhere(self, wanted: bool) -> bool:
        """Whether a prediction is wanted by any process."""
        return self._role.anywhere(wanted)

    def _declared(self, *operations: str) -> RoleHandle:
        """The role itself. Raises PluginError for an operation that the method's spec does not name for it."""
        missing = sorted(set(operations) - self._need.operations)
        if missing:
            raise PluginError(
                f"it asks {', '.join(missing)} of role {self.name!r}, which its spec does not declare; add it to the role's operations"
            )
        return self._role

    def _refuse_done(self) -> None:
        """Raise PluginError where the method has said that nothing asks the role any more."""
        if self._role.done:
            raise PluginError(
                f"it asks role {self.name!r} after a loss that names it in `done`: its weights may have moved; ask before that loss"
            )

    def _asked(self, timestep: Tensor, ask: Ask) -> RoleHandle:
        self._refuse_done()
        if ask is PLAIN and timestep.ndim == 1:
            return self._declared("predict")
        by_frame = {"frame_timesteps"} if timestep.ndim == 2 else set()
        return self._declared("predict", *ask.parts, *by_frame)

    def predict(
        self,
        noisy_BTCHW: Tensor,
        timestep: Tensor,
        condition: Condition,
        ask: Ask = PLAIN,
        *,
        input_gradients: bool = False,
    ) -> Prediction:
        """v and whatever else is asked for."""
        role = self._asked(timestep, ask)
        return role.predict(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)

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
        role = self._asked(timestep, ask)
        return role.predict_velocity(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)

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
        role = self._asked(timestep, ask)
        return role.predict_x0(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)

    def add_noise(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep: Tensor) -> Tensor:
        """x_t = (1 - σ) x0 + σ ε."""
        return self._role.add_noise(clean_BTCHW, noise_BTCHW, timestep)

    def shift_timestep(self, timestep: Tensor, latent_shape: tuple[int, int, int, int] | None = None) -> Tensor:
        """The flow shift of samples of a shape, on timesteps in [0, 1000]."""
        return self._declared("flow_shift").shift_timestep(timestep, latent_shape)

    def unconditional(self, condition: Condition) -> Condition:
        """The "unconditional" side of guidance."""
        return self._declared("unconditional").unconditional(condition)

    @property
    def guides_at_once(self) -> bool:
        """Whether both sides of guidance are asked in one pass."""
        return self._role.guides_at_once

    def unconditional_where(self, condition: Condition, mask_B: Tensor) -> Condition:
        """The unconditional side where the mask [B] is true."""
        return self._declared("unconditional").unconditional_where(condition, mask_B)

    def drop_condition(self, condition: Condition, dropped_B: Tensor) -> Condition:
        """The empty caption where the mask [B] is true."""
        return self._declared("drop_condition").drop_condition(condition, dropped_B)

    def encode_condition(self, prompts: Sequence[Prompt]) -> Condition:
        """Prompts through the family's encoders."""
        return self._declared("encode_condition").encode_condition(prompts)

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as uint8 frames [B, F, H', W', 3]."""
        return self._declared("decode_latents").decode_latents(latents_BTCHW)

    def decode_pixels(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as float32 frames [B, F, 3, H', W'] in [0, 1], with the graph."""
        return self._declared("decode_pixels").decode_pixels(latents_BTCHW)

    def encode_pixels(self, pixels_BFCHW: Tensor) -> Tensor:
        """float frames [B, F, 3, H', W'] in [0, 1] as normalised latents, with the graph."""
        return self._declared("encode_pixels").encode_pixels(pixels_BFCHW)

    def extension(self, name: str) -> Callable[..., object]:
        """An operation of the family's own, on this role's modules."""
        self._refuse_done()
        return self._declared(name).extension(name)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the modules hold the EMA weights. Raises PluginError where the role keeps none."""
        if self._role.average is None:
            raise PluginError(
                f"it wants the averaged weights of role {self.name!r}, which keeps no average; set roles.{self.name}.ema"
            )
        return self._role.averaged()


def declared(roles: Mapping[str, RoleHandle], needs: Mapping[str, RoleNeed]) -> dict[str, Role]:
    """The roles of a run as its method is given them."""
    return {name: DeclaredRole(role, needs[name]) for name, role in roles.items()}
