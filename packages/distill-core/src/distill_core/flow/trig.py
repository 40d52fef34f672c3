"""TrigFlow as a view of rectified flow: x̂ = cos t̂ x0 + sin t̂ z, z = σ_d ε, with the same ratio of noise to signal (arXiv 2410.11081).

A network of rectified flow's v answers F = (cos t̂ z - sin t̂ x0) / σ_d by arithmetic, and so does its derivative. In
float64: differences of nearly equal numbers are of the essence here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from distill_core.flow.arithmetic import TRAIN_TIMESTEPS, shaped_like
from distill_core.protocols.prediction import Tangents


def angle_of(timestep_B: Tensor, sigma_data: float = 1.0) -> Tensor:
    """t̂ = atan2(σ, (1 - σ) σ_d) in [0, π/2], float64."""
    sigma_B = timestep_B.double() / TRAIN_TIMESTEPS
    return torch.atan2(sigma_B, (1.0 - sigma_B) * sigma_data)


@dataclass(frozen=True)
class TrigState:
    """A state x̂ at an angle.

    Attributes:
        angle_B: t̂, float64 [B] in (0, π/2].
        x_BTCHW: x̂, float64.
        sigma_data: σ_d.
    """

    angle_B: Tensor
    x_BTCHW: Tensor
    sigma_data: float = 1.0

    @classmethod
    def of(cls, clean_BTCHW: Tensor, noise_BTCHW: Tensor, angle_B: Tensor, sigma_data: float = 1.0) -> TrigState:
        """cos t̂ x0 + sin t̂ σ_d ε."""
        cos, sin = (shaped_like(each, clean_BTCHW) for each in (angle_B.cos(), angle_B.sin()))
        return cls(angle_B, cos * clean_BTCHW.double() + sin * sigma_data * noise_BTCHW.double(), sigma_data)

    @cached_property
    def cos(self) -> Tensor:
        """cos t̂, shaped to multiply x̂."""
        return shaped_like(self.angle_B.cos(), self.x_BTCHW)

    @cached_property
    def sin(self) -> Tensor:
        """sin t̂, shaped to multiply x̂."""
        return shaped_like(self.angle_B.sin(), self.x_BTCHW)

    @cached_property
    def _scale(self) -> Tensor:
        """x̂ in units of rectified flow's x_t: cos t̂ + sin t̂ σ_d."""
        return self.cos + self.sigma_data * self.sin

    @property
    def noisy(self) -> Tensor:
        """Rectified flow's x_t, float32: what the network sees."""
        return self._flow_x.float()

    @cached_property
    def _flow_x(self) -> Tensor:
        return self.x_BTCHW / self._scale

    @cached_property
    def _sigma(self) -> Tensor:
        return self.sin * self.sigma_data / self._scale

    @property
    def timestep(self) -> Tensor:
        """Rectified flow's timestep, float64 [B] in [0, 1000]."""
        return TRAIN_TIMESTEPS * self._sigma.flatten().clamp(0.0, 1.0)

    def function_of(self, velocity_BTCHW: Tensor) -> Tensor:
        """F = (cos t̂ x̂ - x̂0) / (sin t̂ σ_d), with x̂0 = x_t - σ v."""
        x0_BTCHW = self._flow_x - self._sigma * velocity_BTCHW.double()
        return (self.cos * self.x_BTCHW - x0_BTCHW) / (self.sin * self.sigma_data)

    def _moved(self, dx_BTCHW: Tensor, dangle: Tensor) -> tuple[Tensor, Tensor]:
        """What a move of (x̂, t̂) is of rectified flow's (x_t, σ)."""
        dscale = (self.sigma_data * self.cos - self.sin) * dangle
        dflow_x = (dx_BTCHW - self._flow_x * dscale) / self._scale
        return dflow_x, (self.sigma_data * self.cos * dangle - self._sigma * dscale) / self._scale

    def tangents(self, dx_BTCHW: Tensor, dangle_B: Tensor) -> Tangents:
        """The direction (dx̂, dt̂) as the network takes one."""
        dflow_x, dsigma = self._moved(dx_BTCHW, shaped_like(dangle_B, self.x_BTCHW))
        return Tangents(dflow_x.float(), dsigma.flatten())

    def derivative_of(
        self, velocity_BTCHW: Tensor, derivative_BTCHW: Tensor, dx_BTCHW: Tensor, dangle_B: Tensor
    ) -> Tensor:
        """dF in the direction (dx̂, dt̂), of v and of its derivative in that direction."""
        dangle = shaped_like(dangle_B, self.x_BTCHW)
        dflow_x, dsigma = self._moved(dx_BTCHW, dangle)
        velocity, dvelocity = velocity_BTCHW.double(), derivative_BTCHW.double()
        dx0 = dflow_x - dsigma * velocity - self._sigma * dvelocity
        dtop = -self.sin * dangle * self.x_BTCHW + self.cos * dx_BTCHW - dx0
        function = self.function_of(velocity)
        return (dtop - function * self.cos * dangle * self.sigma_data) / (self.sin * self.sigma_data)
