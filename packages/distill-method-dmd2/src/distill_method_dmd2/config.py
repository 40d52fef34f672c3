"""``method_config`` of DMD2."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from distill_matching.options import DiscriminatorOptions, MatchingOptions


class Dmd2Options(DiscriminatorOptions, MatchingOptions):
    """Options of DMD2. Timesteps are in [0, 1000], 1000 is pure noise."""

    regression_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of DMD's regression onto the teacher's own samples, which keeps the student's variety; 0 leaves it out."""
    regression_interval: Annotated[int, Field(ge=1)] = 4
    """Every how many of the student's updates the regression is added."""
    regression_steps: Annotated[int, Field(ge=2)] = 8
    """Euler steps of the teacher per regression target; each costs two evaluations where it is guided."""
    regression_guidance_scale: Annotated[float, Field(ge=0)] | None = None
    """Guidance of those samples; null takes the guidance of the teacher's score."""
    gan_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a GAN loss on teacher features (DMD2 section 4.3), 0.001 to 0.03 elsewhere. Needs latents; 0: none."""

    @model_validator(mode="after")
    def _regresses_from_noise(self) -> Dmd2Options:
        if self.regression_weight and self.steps[0] != 1000:
            raise ValueError(
                f"the regression is of a student that starts from pure noise, dmd_denoising_steps starts at {self.steps[0]:g}; "
                "start it at 1000, or set regression_weight: 0"
            )
        return self

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student too on every ``generator_update_interval``-th, or there in its stead.

        The discriminator, where there is one, steps with the critic.
        """
        return self.turn(step, ("critic", "discriminator") if self.gan_weight else ("critic",))

    @property
    def regression_scale(self) -> float:
        """The guidance s of the teacher's samples that the student regresses onto."""
        return self.scale if self.regression_guidance_scale is None else self.regression_guidance_scale
