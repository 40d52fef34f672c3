"""The student's few steps, up to one that is drawn: what its distribution is matched at.

``simulate`` starts from noise and makes only the steps before the drawn one, without a graph (DMD2 section 4.5, backward
simulation). Its index is one for the batch and for every rank (keyed randomness), so that all of them run the same number of
forwards. ``data_latent`` noises the data to a step drawn per sample. Either way the prediction at the drawn step is the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Draw, Role

Move = Literal["sde", "ode"]


@dataclass(frozen=True)
class StudentSample:
    """What the student predicts at one of its steps.

    Timesteps are in host memory.

    Attributes:
        x_BTCHW: x̂0. With a graph of that one forward, unless gradients are off.
        next_B: the timestep of the step after, to which sampling would noise x̂0; 0 after the last.
        first: the frame from which on losses count; those before are context.
        ceiling_B: the highest timestep that it is scored at; None: up to pure noise.
    """

    x_BTCHW: Tensor
    next_B: Tensor
    first: int = 0
    ceiling_B: Tensor | None = None

    def detach(self) -> StudentSample:
        """The same without a graph."""
        return replace(self, x_BTCHW=self.x_BTCHW.detach())


def student_sample(
    student: Role,
    batch: Batch,
    draw: Draw,
    steps: Sequence[float],
    *,
    from_data: bool,
    move: Move,
    attn_kind: str,
    first_exit: int = 0,
    up_to_step: bool = False,
) -> StudentSample:
    """The student's prediction at the drawn step: one step for the batch in a simulated rollout, one per sample from data.

    ``first_exit``: the first index that is drawn. ``up_to_step``: the sample is scored up to the timestep that it was predicted at.
    """
    following = (*steps[1:], 0.0)
    if from_data:
        noise_BTCHW = draw.normal("start", batch.latent_shape)
        step_B, next_B = (draw.hosted.choice("step", timesteps[first_exit:]) for timesteps in (steps, following))
        noisy_BTCHW = student.add_noise(batch.latents, noise_BTCHW, step_B)
    else:
        exit_index = first_exit + draw.shared_index("exit", len(steps) - first_exit)
        noisy_BTCHW = simulate(student, batch, draw, steps[: exit_index + 1], move=move, attn_kind=attn_kind)
        step_B, next_B = _constants((steps[exit_index], following[exit_index]), batch)
    x_BTCHW = student.predict_x0(noisy_BTCHW, step_B, batch.condition_of(student), Ask(attn_kind))
    return StudentSample(x_BTCHW, next_B, ceiling_B=step_B if up_to_step else None)


@torch.no_grad()
def simulate(student: Role, batch: Batch, draw: Draw, steps: Sequence[float], *, move: Move, attn_kind: str) -> Tensor:
    """The student's state on arriving at the last of ``steps``: len(steps) - 1 forwards, from pure noise."""
    x_BTCHW, condition = draw.normal("start", batch.latent_shape), batch.condition_of(student)
    for index, (step_B, next_B) in enumerate(pairwise(_constants(steps, batch))):
        x0_BTCHW = student.predict_x0(x_BTCHW, step_B, condition, Ask(attn_kind))
        if move == "sde":
            x_BTCHW = student.add_noise(x0_BTCHW, draw.normal(f"renoise/{index}", batch.latent_shape), next_B)
        else:
            x_BTCHW = flow.move(x_BTCHW, x0_BTCHW, step_B, next_B)
    return x_BTCHW


def _constants(timesteps: Sequence[float], batch: Batch) -> tuple[Tensor, ...]:
    """Each timestep for all samples of the batch, [B], in host memory; made at once."""
    return torch.tensor(timesteps, dtype=torch.float64)[:, None].expand(-1, batch.size).unbind()
