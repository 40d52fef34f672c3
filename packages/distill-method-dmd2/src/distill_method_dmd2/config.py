"""``method_config`` of DMD2."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from distill_core.plugins.timesteps import TRAIN_TIMESTEPS
from distill_matching.options import DiscriminatorOptions, MatchingOptions, ScoreCeilingOptions


class Dmd2Options(DiscriminatorOptions, ScoreCeilingOptions, MatchingOptions):
    """Options of DMD2. Timesteps are in [0, 1000], 1000 is pure noise."""

    regression_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of DMD's regression onto the teacher's own samples, which keeps the student's variety; 0 leaves it out."""
    regression_interval: Annotated[int, Field(ge=1)] = 4
    """Every how many of the student's updates the regression is added."""
    regression_steps: Annotated[int, Field(ge=2)] = 8
    """Euler steps of the teacher per regression target; each costs two evaluations where it is guided."""
    regression_guidance_scale: Annotated[float, Field(ge=0)] | None = None
    """Guidance of those samples; null takes the guidance of the teacher's score."""
    diversity_weight: Annotated[float, Field(ge=0, json_schema_extra={"known_as": ["diversity_loss_weight"]})] = 0.0
    """Weight of a regression of the student's first step onto the teacher's first steps from the same noise, .05 elsewhere; 0: none.
    With it, samples are matched at the steps after the first."""
    diversity_steps: Annotated[int, Field(ge=2)] = 30
    """Euler steps that the teacher's way is divided into there."""
    diversity_anchor: Annotated[int, Field(ge=1)] = 5
    """How many of them are made: where the student's first velocity should lead."""
    critic_keeps: Annotated[float, Field(gt=0, le=1, json_schema_extra={"known_as": ["ida_decay"]})] = 1.0
    """After an update of the student the critic keeps this share of its weights, the rest is the student's (IDA, .97 in LightX2V)."""
    gan_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a GAN loss on teacher features (DMD2 section 4.3), 0.001 to 0.03 elsewhere. Needs latents; 0: none."""

    reward_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the run's `rewards`, raised by their gradient on the samples of the last step (DMDR, arXiv 2511.13649); 0: none."""
    reward_interval: Annotated[int, Field(ge=1)] = 1
    """Every how many of the student's updates they are asked: each decodes its samples, with a graph."""

    def contradictions(self) -> Iterator[str]:
        """A regression and a hold on the first step that such steps do not leave room for."""
        yield from super().contradictions()
        if self.regression_weight and self.steps[0] != 1000:
            yield (
                f"the regression is of a student that starts from pure noise, dmd_denoising_steps starts at {self.steps[0]:g}; "
                "start it at 1000, or set regression_weight: 0"
            )
        if not self.diversity_weight:
            return
        if self.steps[0] != TRAIN_TIMESTEPS or len(self.steps) == 1:
            yield (
                f"diversity_weight holds the first of several steps from pure noise to the teacher, and dmd_denoising_steps is "
                f"{[f'{step:g}' for step in self.steps]}; start it at 1000 with a second step, or set diversity_weight: 0"
            )
        if self.diversity_anchor >= self.diversity_steps:
            yield "diversity_anchor is where the teacher is left on its way: set it below diversity_steps"

    @property
    def judged(self) -> bool:
        """Whether a discriminator has a part."""
        return self.gan_weight > 0.0

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Settings of a regression, a hold on the first step, or rewards, that are left out."""
        yield from super().idle()
        if not self.regression_weight:
            names = ("regression_interval", "regression_steps", "regression_guidance_scale")
            yield "regression_weight is 0", names
        if not self.diversity_weight:
            yield "diversity_weight is 0", ("diversity_steps", "diversity_anchor")
        if not self.reward_weight:
            yield "reward_weight is 0", ("reward_interval",)

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student too on every ``generator_update_interval``-th, or there in its stead.

        The discriminator, where there is one, steps with the critic.
        """
        return self.turn(step, ("critic", "discriminator") if self.gan_weight else ("critic",))

    @property
    def regression_scale(self) -> float:
        """The guidance s of the teacher's samples that the student regresses onto."""
        return self.scale if self.regression_guidance_scale is None else self.regression_guidance_scale
