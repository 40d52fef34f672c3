"""``method_config`` of anyflow and anyflow-on-policy. σ = t / 1000, 1 is pure noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from distill_core.plugins import Options
from distill_core.protocols.validator import ValidationRequest
from distill_matching.options import (
    CriticOptions,
    GuidanceOptions,
    MatchingOptions,
    NormalizerOptions,
    ScoreTimestepOptions,
    TurnsOptions,
)


class AnyFlowOptions(Options):
    """Options of the first stage: a flow map, F(x_t, t, r)."""

    velocity: Literal["data", "teacher"] = "data"
    """The velocity of the moment. data: ε - x0 of the clip, guided by the student's own prediction without a caption. teacher: the guided
    teacher's."""
    map_guidance_scale: Annotated[float, Field(gt=0)] = 3.0
    """Guidance s that the map has built in, uncond + s·(cond - uncond); 1: none. The student is sampled without."""
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of samples trained with the empty caption, and no guidance."""
    diffusion_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the samples with r = t: plain flow matching."""
    consistency_share: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the samples with r = 0; the others are of two random times."""
    derivative: Literal["jvp", "differences"] = "differences"
    """dF/dt along the flow. differences: two more forwards, any family. jvp: exact, needs a family with `along` and dense attention."""
    difference_step: Annotated[float, Field(gt=0, lt=0.5)] = 5e-3
    """Half the distance of those forwards, in σ."""
    interval_weight: Annotated[float, Field(ge=0)] = 0.5
    """What a sample with r < t counts: its squared error is divided by its own size and multiplied by this, about what r = t costs."""
    interval_constant: Annotated[float, Field(gt=0)] = 1e-5
    """The least that it is divided by."""
    sampling_steps: Annotated[int, Field(ge=1)] = 4
    """Jumps that the student is validated and exported with; it can be sampled in any number."""

    def contradictions(self) -> Iterator[str]:
        """Shares above the whole, and data or guidance that nothing teaches."""
        yield from super().contradictions()
        if self.diffusion_share + self.consistency_share > 1.0:
            yield ("diffusion_share and consistency_share are parts of one whole; lower them to at most 1 together")
        if self.velocity == "data" and not self.diffusion_share:
            yield (
                "without samples at r = t nothing teaches the velocity of clips; raise diffusion_share, or set velocity: teacher"
            )
        if self.velocity == "data" and self.map_guidance_scale != 1.0 and not self.caption_dropout:
            yield (
                "guidance by the student's own prediction without a caption needs samples that have none; set caption_dropout to 0.1 or "
                "so, or map_guidance_scale: 1"
            )

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """A distance of forwards that are not made."""
        yield from super().idle()
        if self.derivative == "jvp":
            yield "derivative is jvp", ("difference_step",)

    def sampling(self, shift: Callable[[float], float]) -> ValidationRequest:
        """The student as it will be used: jumps down the family's own schedule."""
        return ValidationRequest(
            role="student", sampler="ode", steps=self.sampling_steps, guidance_scale=1.0, until=True
        )

    def map_roles(self, step: int) -> tuple[str, ...]:
        """The student, on every step."""
        return ("student",)


class OnPolicyOptions(
    NormalizerOptions, CriticOptions, ScoreTimestepOptions, GuidanceOptions, TurnsOptions, AnyFlowOptions
):
    """Options of the second stage: the map's own samples are matched to the teacher's."""

    generator_update_interval: Annotated[int, Field(ge=1)] = 1
    """Training steps per update of the student; the critic is updated on every step."""
    rollout_grids: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (2, 4, 8, 16, 50)
    """Numbers of steps of which one is drawn for each rollout: one step of such a grid is trained between a jump to it and one from it."""
    matching_weight: Annotated[float, Field(ge=0)] = 2.0
    """Weight of ½ mean (x - sg(x - g))²: 2 is AnyFlow's, which has no ½."""
    map_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the first stage's loss, which is kept on; 0 leaves it out, and needs no latents then."""

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The first stage's settings, where its loss is left out."""
        yield from super().idle()
        if not self.map_weight:
            shares = ("caption_dropout", "diffusion_share", "consistency_share", "interval_weight", "interval_constant")
            yield "map_weight is 0", ("velocity", "map_guidance_scale", *shares, "derivative")

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student on every ``generator_update_interval``-th."""
        return self.turn(step, ("critic",))

    @property
    def matching(self) -> MatchingOptions:
        """What the layer for distribution matching takes of them."""
        own = {name: getattr(self, name) for name in MatchingOptions.model_fields if name in type(self).model_fields}
        return MatchingOptions.model_validate(own)
