"""Roles that see to it that a method asks within its contract: timesteps in float64 and in range, attention as declared."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distill_core.errors import PluginError
from distill_core.plugins.specs import Demands, RoleNeed
from distill_core.protocols.condition import Condition
from distill_core.protocols.prediction import Ask, Prediction
from distill_core.protocols.role import PLAIN, Role
from distill_core.training.declared import DeclaredRole
from distill_core.training.roles import RoleHandle


class WatchedRole(DeclaredRole):
    """A role as its method sees it. Raises PluginError for a question that a run would answer with other numbers than are meant."""

    def __init__(self, role: RoleHandle, need: RoleNeed, attention: tuple[str, ...]) -> None:
        super().__init__(role, need)
        self._attention = attention

    def _watch(self, noisy: Tensor, timestep: Tensor, ask: Ask) -> None:
        self._watch_timestep("a timestep", timestep)
        if ask.until is not None:
            self._watch_timestep("the second time", ask.until)
            self._expect(
                ask.until.shape == timestep.shape and bool((ask.until <= timestep).all()),
                f"is asked for the mean velocity from t to a later time, or to times of the shape {list(ask.until.shape)}; "
                "ask.until is shaped as the timestep is, and nowhere above it",
            )
        self._expect(
            ask.attn_kind in self._attention,
            f"is asked for {ask.attn_kind!r} attention, which the spec's demands do not name for it; "
            f"say Demands(attention={{{self.name!r}: ({ask.attn_kind!r},)}})",
        )
        self._expect(bool(noisy.isfinite().all()), "is given latents that are not finite; look at what made them")

    def _watch_timestep(self, what: str, timestep: Tensor) -> None:
        self._expect(
            timestep.dtype == torch.float64,
            f"is given {what} in {str(timestep.dtype).removeprefix('torch.')}; "
            "timesteps are float64, as `draw` gives them: make it with .double() before any arithmetic",
        )
        self._expect(
            bool(((timestep >= 0.0) & (timestep <= 1000.0)).all()),
            f"is given {what} of {float(timestep.max()):.6g}, outside [0, 1000]; timesteps are 1000 σ: clamp or scale it",
        )

    def _expect(self, holds: bool, fault: str) -> None:
        if not holds:
            raise PluginError(f"role {self.name!r} {fault}")

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
        self._watch(noisy_BTCHW, timestep, ask)
        return super().predict(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)

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
        self._watch(noisy_BTCHW, timestep, ask)
        return super().predict_velocity(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)

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
        self._watch(noisy_BTCHW, timestep, ask)
        return super().predict_x0(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)

    def add_noise(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep: Tensor) -> Tensor:
        """x_t = (1 - σ) x0 + σ ε."""
        self._watch_timestep("a timestep", timestep)
        return super().add_noise(clean_BTCHW, noise_BTCHW, timestep)

    def shift_timestep(self, timestep: Tensor, latent_shape: tuple[int, int, int, int] | None = None) -> Tensor:
        """The flow shift of samples of a shape, on timesteps in [0, 1000]."""
        self._watch_timestep("a timestep", timestep)
        return super().shift_timestep(timestep, latent_shape)


def watched(roles: Mapping[str, RoleHandle], needs: Mapping[str, RoleNeed], demands: Demands) -> dict[str, Role]:
    """The roles of a run as the kit gives them to a method. A follower attends as its leader does."""
    return {
        name: WatchedRole(role, needs[name], demands.attention_of(needs[name].follows or name))
        for name, role in roles.items()
    }
