"""``method_config`` of sid and of sgmd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from distill_matching.options import ScoreCeilingOptions, ScoringOptions


class SidOptions(ScoreCeilingOptions, ScoringOptions):
    """Options of SiD. Timesteps are in [0, 1000], 1000 is pure noise."""

    alpha: Annotated[float, Field(ge=0)] = 1.0
    """α of the loss: how much of the squared difference of the scores is taken away. 1 in Self-Forcing; above it, less steady."""

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student too on every ``generator_update_interval``-th, or there in its stead."""
        return self.turn(step, ("critic",))


class SgmdOptions(ScoreCeilingOptions, ScoringOptions):
    """Options of SGMD. Timesteps are in [0, 1000], 1000 is pure noise."""

    generator_update_interval: Annotated[int, Field(ge=1)] = 1
    """The student is updated on every step, and the critic after it: 1, and nothing else."""
    critic_reuses_student_sample: bool = False
    """The critic learns from a rollout of its own: false, and nothing else."""
    correction_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the correction that is taken away from the Fisher term."""

    def contradictions(self) -> Iterator[str]:
        """A cadence that is not SGMD's."""
        yield from super().contradictions()
        if self.generator_update_interval != 1 or self.critic_reuses_student_sample:
            yield (
                "SGMD updates the critic once after each update of the student, on a sample of its own; leave out "
                "generator_update_interval and critic_reuses_student_sample, or take the method sid"
            )

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """Both, on every step."""
        return self.turn(step, ("critic",))
