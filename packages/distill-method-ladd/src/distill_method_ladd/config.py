"""``method_config`` of LADD."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distill_matching.options import DiscriminatorOptions, FewStepOptions, ScoreTimestepOptions


class LaddOptions(DiscriminatorOptions, ScoreTimestepOptions, FewStepOptions):
    """Options of LADD. Timesteps are in [0, 1000], 1000 is pure noise."""

    rollout: Annotated[Literal["simulate", "data_latent"], Field(json_schema_extra={"known_as": ["rollout_mode"]})] = (
        "data_latent"
    )
    """data_latent: noised latents of the data, as in the paper. simulate: the student's own samples from noise, beside real clips."""
    generator_update_interval: Annotated[int, Field(ge=2, json_schema_extra={"known_as": ["student_update_freq"]})] = 2
    """With 5 the student is updated on steps 5, 10, 15, …, and the discriminator on all others."""
    gan_r1_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of approximate R1: the discriminator should answer a real clip alike when it is moved a little. 0: none."""

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The student on every ``generator_update_interval``-th step, the discriminator on the others."""
        return ("discriminator",) if step % self.generator_update_interval else ("student",)
