"""The guided teacher: a second prediction, made for those samples alone that are guided. B batch; timesteps are [B] in [0, 1000]."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core import flow
from distill_core.errors import ConfigError, Problem
from distill_core.plugins.timesteps import TRAIN_TIMESTEPS
from distill_core.protocols import Ask, Condition, Prediction, Role
from distill_core.protocols.role import PLAIN
from distill_core.transfer import to_device
from distill_matching.losses import guided
from distill_matching.options import GuidanceOptions


class Guidance:
    """Guidance of a teacher by the options of a run.

    Attributes:
        scale: s of all samples; None where it depends on the timestep.
    """

    def __init__(
        self, teacher: Role, options: GuidanceOptions, within: tuple[float, float] = (0.0, TRAIN_TIMESTEPS)
    ) -> None:
        """``within``: all timesteps lie there. Raises ConfigError for a guidance of an expert that the teacher does not have."""
        if options.low_noise_guidance_scale is not None and teacher.boundary is None:
            message = f"is {options.low_noise_guidance_scale:g}, and the teacher has one expert alone; leave it out"
            raise ConfigError([Problem("method_config.low_noise_guidance_scale", message)])
        self.teacher, self.options = teacher, options
        self.scale = options.scale if _is_one(options, teacher.boundary, within) else None

    def predict(
        self,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        condition: Condition,
        ask: Ask = PLAIN,
        *,
        input_gradients: bool = False,
        through: bool = False,
    ) -> tuple[Prediction, Tensor | None]:
        """What the teacher makes of the samples under their conditions; and v of the unconditional side of the guided ones, where it comes
        in the same pass: of a teacher that guides at once, unless features keep a graph (``input_gradients``) and guidance none."""
        if not self.teacher.guides_at_once or input_gradients != through:
            return self.teacher.predict(noisy_BTCHW, timestep_B, condition, ask, input_gradients=input_gradients), None
        rows = _guided_rows(self._scales(timestep_B))
        return flow.at_once(
            self.teacher, noisy_BTCHW, timestep_B, condition, rows, ask, input_gradients=input_gradients
        )

    def guided(
        self,
        cond_BTCHW: Tensor,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        condition: Condition,
        *,
        sigma: Tensor,
        through: bool = False,
        away_BTCHW: Tensor | None = None,
    ) -> Tensor:
        """uncond + s · (cond - uncond) of x̂0, with the s of each sample's timestep; where it is 1, what is conditional.

        ``sigma``: that of the timesteps. ``through``: with a graph. ``away_BTCHW``: v of the unconditional side, where :meth:`predict` gave
        it; it is predicted otherwise. Timesteps in host memory are looked at without waiting for the device; they are not looked at where
        all have one s.
        """
        scales = self._scales(timestep_B)
        rows, unseen = _guided_rows(scales), False
        if away_BTCHW is None:
            wanted = bool(rows) if self.scale is not None else self.teacher.anywhere(bool(rows))
            if not wanted:
                return cond_BTCHW
            unseen = not rows  # another process has one, and the teacher's weights lie on both in parts
            rows = rows or [0]
            away_BTCHW = self._away(rows, noisy_BTCHW, timestep_B, condition, through)
        elif not rows:
            return cond_BTCHW
        if len(rows) == len(scales) and not unseen:
            uncond_BTCHW = flow.denoised(noisy_BTCHW, away_BTCHW, sigma)
            return guided(cond_BTCHW, uncond_BTCHW, _factor(scales, cond_BTCHW.device))
        own = to_device(torch.tensor(rows), cond_BTCHW.device)
        uncond_BTCHW = flow.denoised(noisy_BTCHW[own], away_BTCHW, sigma[own])
        if unseen:
            nowhere = torch.zeros_like(uncond_BTCHW, dtype=torch.bool)
            return cond_BTCHW.index_copy(0, own, torch.where(nowhere, uncond_BTCHW, cond_BTCHW[own]))
        factor = _factor([scales[row] for row in rows], cond_BTCHW.device)
        return cond_BTCHW.index_copy(0, own, guided(cond_BTCHW[own], uncond_BTCHW, factor))

    def _away(
        self, rows: list[int], noisy_BTCHW: Tensor, timestep_B: Tensor, condition: Condition, through: bool
    ) -> Tensor:
        """v of the unconditional side of some samples, by a pass of its own."""
        negative = self.teacher.unconditional(condition)
        if len(rows) == len(noisy_BTCHW):
            return self.teacher.predict_velocity(noisy_BTCHW, timestep_B, negative, input_gradients=through)
        own = to_device(torch.tensor(rows), noisy_BTCHW.device)
        return self.teacher.predict_velocity(
            noisy_BTCHW[own], timestep_B[rows], negative.select(own), input_gradients=through
        )

    def _scales(self, timestep_B: Tensor) -> list[float]:
        """s of each sample."""
        if self.scale is not None:
            return [self.scale] * len(timestep_B)
        return [self.options.scale_at(timestep, self.teacher.boundary) for timestep in timestep_B.tolist()]


def _guided_rows(scales: list[float]) -> list[int]:
    """The samples that guidance changes."""
    return [row for row, scale in enumerate(scales) if scale != 1.0]


def _is_one(options: GuidanceOptions, boundary: float | None, within: tuple[float, float]) -> bool:
    """Whether all timesteps ``within`` have one s."""
    in_range = options.guidance_range[0] <= within[0] and within[1] <= options.guidance_range[1]
    by_expert = boundary is not None and options.low_noise_guidance_scale not in (None, options.scale)
    return (in_range or options.scale == 1.0) and not by_expert


def _factor(scales: list[float], device: torch.device) -> Tensor | float:
    """s of the batch, or of each sample, to multiply."""
    if len(set(scales)) == 1:
        return scales[0]
    return to_device(torch.tensor(scales, dtype=torch.float32), device).view(-1, 1, 1, 1, 1)
