"""The second stage: the map's own samples are matched to the teacher's (AnyFlow, arXiv 2605.13724: "Flow Map Backward Simulation").

The scores are DMD2's (2405.14867).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from distill_core import flow
from distill_core.protocols import Ask, Batch, Draw, Role, StagedLoss
from distill_matching.losses import dmd_loss
from distill_matching.rollout import StudentSample
from distill_matching.scores import Scores
from distill_method_anyflow.config import OnPolicyOptions
from distill_method_anyflow.flow_map import FlowMap


class OnPolicy(FlowMap):
    """The :class:`distill_core.protocols.Method`."""

    def __init__(self, roles: Mapping[str, Role], options: OnPolicyOptions) -> None:
        super().__init__(roles, options)
        self.policy = options
        self.scores = Scores(roles, options.matching)

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The student's: its map, and its samples; then the critic's."""
        due, sample = self.roles_to_step(draw.step), None
        if "student" in due:
            if self.policy.map_weight:
                loss = self.map_loss(batch, draw.within("map"))
                yield StagedLoss("student", "map_loss", self.policy.map_weight * loss)
            own = draw.within("student")
            sample = self.rollout(batch, own)
            scored = self.scores.of(sample, batch, own)
            gradient_BTCHW = self.scores.gradient(scored)
            value = self.policy.matching_weight * dmd_loss(sample.x_BTCHW, gradient_BTCHW)
            norm = gradient_BTCHW.flatten(1).norm(dim=1).mean()
            yield StagedLoss("student", "matching_loss", value, {"gradient": norm})
            sample = sample.detach()
            del scored, value
        if "critic" in due:
            own = draw.within("critic")
            if sample is None or not self.policy.critic_reuses_student_sample:
                with torch.no_grad():
                    sample = self.rollout(batch, own)
            yield StagedLoss("critic", "critic_loss", self.scores.critic_loss(sample, batch, own), done=("student",))

    def rollout(self, batch: Batch, draw: Draw) -> StudentSample:
        """From noise to a step of a grid, over that step, and from it to 0: at most three jumps, all of them with the graph.

        Grid and step are one for the batch and for every rank, so that all run the same number of forwards.
        """
        steps = self.policy.rollout_grids[draw.shared_index("grid", len(self.policy.rollout_grids))]
        place = draw.shared_index("place", steps)
        uniform = torch.tensor(flow.shifted_uniform_grid(steps, 1.0), dtype=torch.float64)
        grid = (*self.student.shift_timestep(uniform, batch.latent_shape).tolist(), 0.0)
        x_BTCHW = self.jumps(
            draw.normal("start", batch.latent_shape), batch, (1000.0, grid[place], grid[place + 1], 0.0)
        )
        return StudentSample(x_BTCHW, torch.zeros(batch.size, dtype=torch.float64, device=x_BTCHW.device))

    def jumps(self, x_BTCHW: Tensor, batch: Batch, times: tuple[float, ...]) -> Tensor:
        """x_r = x_t - (t - r) F(x_t, t, r), from each of the times to the next; none between equal times."""
        condition = batch.condition_of(self.student)
        for timestep, following in pairwise(dict.fromkeys(times)):
            t_B, r_B = flow.timestep_of(timestep, x_BTCHW), flow.timestep_of(following, x_BTCHW)
            mean_BTCHW = self.student.predict_velocity(x_BTCHW, t_B, condition, Ask(until=r_B))
            x_BTCHW = flow.euler_step(x_BTCHW, mean_BTCHW, t_B, r_B)
        return x_BTCHW

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student on its own."""
        return self.policy.roles_to_step(step)
