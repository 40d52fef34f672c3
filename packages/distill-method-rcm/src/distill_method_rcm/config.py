"""``method_config`` of rCM. Timesteps are in [0, 1000], 1000 is pure noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from distill_core.plugins.timesteps import Timestep
from distill_matching.options import MatchingOptions

DEFAULT_GUIDANCE_SCALE = 5.0


class RcmOptions(MatchingOptions):
    """Options of rCM."""

    dmd_denoising_steps: Annotated[tuple[Timestep, ...], Field(min_length=1)] = (1000.0, 933.8, 852.9, 609.0)
    """The student's timesteps, strictly descending: TrigFlow's π/2, 1.5, 1.4 and 1.0. A trailing 0 only marks the end."""
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    """Guidance s of the teacher, uncond + s·(cond - uncond), in both parts. null, and no `real_score_guidance_scale`: 5."""
    critic_rests: bool = True
    """The critic is not updated on the student's steps: with 5 it is updated four times to the student's once (10 for 14B)."""
    normalizer_floor: Annotated[float, Field(gt=0)] = 1e-5
    """The least that the gradient between the scores is divided by."""
    consistency_steps: Annotated[int, Field(ge=0, json_schema_extra={"known_as": ["tangent_warmup"]})] = 1000
    """Training steps of consistency alone, the student on each; then distribution matching joins, and the critic."""
    consistency_weight: Annotated[float, Field(ge=0)] | None = None
    """Weight of the consistency loss against that of distribution matching. null: 50 / √D for D numbers of a sample, rCM's own: sums with
    100 and 1 there, means here."""
    matching_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of distribution matching."""
    angle_mean: float = 0.7
    """Mean of log tan t̂, normal, of the consistency part. Elsewhere P_mean."""
    angle_std: Annotated[float, Field(gt=0)] = 1.6
    """Its standard deviation (1.5 for 14B). Elsewhere P_std."""
    tangent_constant: Annotated[float, Field(gt=0)] = 1e-4
    """c of g / (‖g‖ / √D + c). Elsewhere 0.1 of the norm itself, √D as much."""
    derivative: Literal["jvp", "differences"] = "jvp"
    """jvp: exact, needs a family with `along` and dense attention. differences: two more forwards, any family."""
    difference_step: Annotated[float, Field(gt=0, lt=0.5)] = 1e-3
    """Half the distance of those forwards, in σ along the path."""

    def contradictions(self) -> Iterator[str]:
        """A rollout that is not its own, and a derivative that such attention does not have."""
        yield from super().contradictions()
        if self.rollout != "simulate":
            yield ("rCM matches samples that the student makes from noise; leave rollout out, or set it to simulate")
        if self.rollout_move != "sde":
            yield (
                "rCM's student predicts x0 and noises it anew at each step; leave rollout_move out, or set it to sde"
            )
        if self.derivative == "jvp" and self.attn_kind != "dense":
            yield (
                f"an exact derivative needs dense attention, attn_kind is {self.attn_kind}; set derivative: differences"
            )

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """A distance of forwards that are not made."""
        yield from super().idle()
        if self.derivative == "jvp":
            yield "derivative is jvp", ("difference_step",)

    @property
    def scale(self) -> float:
        """The teacher's guidance s."""
        if self.guidance_scale is None and self.real_score_guidance_scale is None:
            return DEFAULT_GUIDANCE_SCALE
        return super().scale

    def weight_of(self, latent_shape: tuple[int, int, int, int]) -> float:
        """The weight of the consistency loss for samples of [T, C, H, W]."""
        return 50.0 / math.sqrt(math.prod(latent_shape)) if self.consistency_weight is None else self.consistency_weight

    def warmup(self, step: int) -> float:
        """w = min(1, step / consistency_steps), counted from 1."""
        return 1.0 if self.consistency_steps == 0 else min(1.0, step / self.consistency_steps)

    def matches(self, step: int) -> bool:
        """Whether distribution matching has joined."""
        return step > self.consistency_steps

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student alone at first; then student and critic by turns."""
        return self.turn(step, ("critic",)) if self.matches(step) else ("student",)

    def rollout_length(self, step: int, role: str) -> int:
        """How many of its steps the student takes for a sample: 1, 2, … and around, each role by its own updates.

        By the step, as upstream, a critic that rests on every second step would see the samples of every second length alone.
        """
        students = step // self.generator_update_interval
        count = students if role == "student" else step - students if self.critic_rests else step
        return count % len(self.steps) + 1
