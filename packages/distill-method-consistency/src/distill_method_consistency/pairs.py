"""Two states of one flow: a noised clip, and where it stands a little earlier."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from distill_core import flow
from distill_core.protocols import Batch, Role


@dataclass(frozen=True)
class Pair:
    """x_t and x_r of the same flow, r ≤ t.

    Attributes:
        later_BTCHW: x_t.
        earlier_BTCHW: x_r.
        t_B: float64 [B] in [0, 1000].
        r_B: the earlier one.
    """

    later_BTCHW: Tensor
    earlier_BTCHW: Tensor
    t_B: Tensor
    r_B: Tensor


def make_pair(
    student: Role, teacher: Role | None, batch: Batch, noise_BTCHW: Tensor, t_B: Tensor, r_B: Tensor, scale: float
) -> Pair:
    """x_t of clips and noise, and x_r: by one Euler step of the guided teacher (CD, arXiv 2303.01469, equation 6), or, without one, of the
    same clips and noise (CT, section 5)."""
    later_BTCHW = student.add_noise(batch.latents, noise_BTCHW, t_B)
    if teacher is None:
        return Pair(later_BTCHW, student.add_noise(batch.latents, noise_BTCHW, r_B), t_B, r_B)
    velocity_BTCHW = flow.guided_velocity(teacher, later_BTCHW, t_B, batch.condition_of(teacher), scale)
    return Pair(later_BTCHW, flow.euler_step(later_BTCHW, velocity_BTCHW, t_B, r_B), t_B, r_B)
