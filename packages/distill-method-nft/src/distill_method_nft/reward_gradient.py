"""Rewards by their gradient: ReFL (Xu et al., arXiv 2304.05977) and DRaFT (Clark et al., arXiv 2309.17400).

A clip is sampled, decoded and rewarded, and the reward's gradient goes back through the decoder and the last of the student's steps. What
a reward does not see, its gradient may spoil; a frozen reference holds the student near.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Draw, Method, Role, StagedLoss, ValidationRequest
from distill_core.training.rewards import rewards_of
from distill_method_nft.config import RewardGradientOptions
from distill_method_nft.walk import Walk, grid


class RewardGradient(Method):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: RewardGradientOptions) -> None:
        self.student = roles["student"]
        self.reference = roles["reference"] if options.reference_weight else None
        self.rewards, self.options = rewards_of(roles["rewards"]), options

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """- reward, and the squared distance to the reference where the gradient begins."""
        steps = (*grid(self.student, self.options, batch.latent_shape), 0.0)
        first = self._first(draw)
        condition = batch.condition_of(self.student)
        walk = Walk(self.student, condition, self.options, draw)
        with torch.no_grad():
            noisy_BTCHW = walk.through(draw.normal("start", batch.latent_shape), steps[: first + 1])
        t_B = walk.everywhere(steps[first], noisy_BTCHW)
        velocity_BTCHW = self.student.predict_velocity(noisy_BTCHW, t_B, condition, Ask(self.options.attn_kind))
        x0_BTCHW = self._rewarded(walk, noisy_BTCHW, velocity_BTCHW, steps[first:])
        each = self.rewards.each(self.student.decode_pixels(x0_BTCHW), [row.caption for row in batch.rows])
        value = -self.options.reward_scale * self.rewards.total(each).mean()
        metrics = {f"reward/{name}": score_B.detach().mean() for name, score_B in each.items()}
        if self.reference is not None:
            held_BTCHW = self.reference.predict_velocity(noisy_BTCHW, t_B, batch.condition_of(self.reference))
            drift = torch.mean((velocity_BTCHW - held_BTCHW) ** 2)
            value, metrics = (
                value + self.options.reference_weight * drift,
                {**metrics, "reference_distance": drift.detach()},
            )
        yield StagedLoss("student", "reward_loss", value, metrics)

    def _first(self, draw: Draw) -> int:
        """The index of the step from which on there is a graph; one for the batch and for every rank."""
        count = self.options.count
        if self.options.gradient == "last_steps":
            return count - self.options.through
        earliest = self.options.first_drawn()
        return earliest + draw.shared_index("step", count - earliest)

    def _rewarded(self, walk: Walk, noisy_BTCHW: Tensor, velocity_BTCHW: Tensor, steps: tuple[float, ...]) -> Tensor:
        """The clip that is rewarded, as latents: at the end of the steps, or x̂0 of the first of them."""
        if self.options.gradient == "drawn_step":
            return flow.x0_of(noisy_BTCHW, velocity_BTCHW, walk.everywhere(steps[0], noisy_BTCHW))
        return walk.through(walk.step(noisy_BTCHW, velocity_BTCHW, *steps[:2]), steps[1:])

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)

    def validation(self, step: int) -> ValidationRequest:
        """The student as its clips are sampled for rewards."""
        return self.options.sampling(lambda timestep: timestep)
