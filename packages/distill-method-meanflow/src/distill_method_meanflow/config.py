"""``method_config`` of MeanFlow. σ = t / 1000, 1 is pure noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator

from distill_core.plugins import Options
from distill_core.plugins.timesteps import Timestep, few_steps
from distill_core.protocols.validator import ValidationRequest


class MeanFlowOptions(Options):
    """Options of MeanFlow."""

    velocity: Annotated[Literal["teacher", "data", "mixed"], Field(json_schema_extra={"known_as": ["use_cd"]})] = (
        "teacher"
    )
    """The velocity of the moment, v. teacher: the guided teacher's. data: ε - x0 of the clip. mixed: that and the student's own two, which
    learns guidance without a teacher."""
    guidance_scale: Annotated[float, Field(ge=0)] = 3.0
    """Guidance: s of uncond + s·(cond - uncond) for the teacher; ω of mixed, ω v + κ u_cond + (1 - ω - κ) u_uncond. Not of data."""
    guidance_mixture: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """κ of mixed: guidance is then ω / (1 - κ) in all."""
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of samples trained with the empty caption, and no guidance."""
    interval_share: Annotated[float, Field(ge=0, le=1, json_schema_extra={"known_as": ["r_sample_ratio"]})] = 1.0
    """Share of samples with r < t; the others are plain flow matching, r = t. The paper has 0.25, FastGen's Wan recipe 1."""
    logit_mean: float = -0.8
    """Mean of logit σ, normal, of the two times; the larger is t."""
    logit_std: Annotated[float, Field(gt=0)] = 1.6
    """Its standard deviation."""
    timestep_shift: Annotated[float, Field(gt=0)] | None = 1.0
    """Shift of both times; null: the run's flow shift."""
    derivative: Literal["jvp", "differences"] = "jvp"
    """du/dt along the flow. jvp: exact, needs a family with `along` and dense attention. differences: two more forwards, any family."""
    difference_step: Annotated[float, Field(gt=0, lt=0.5)] = 5e-3
    """Half the distance of those forwards, in σ."""
    tangent_warmup_steps: Annotated[int, Field(ge=0)] = 2000
    """Training steps over which the derivative grows to its full weight."""
    weight_power: Annotated[float, Field(ge=0)] = 1.0
    """p of the weight 1 / (m + c)^p of a sample, m its mean squared error; 0 is plain regression."""
    weight_constant: Annotated[float, Field(gt=0)] = 1e-5
    """c. Elsewhere it is of the sum over D numbers, D times as much: 10 in FastGen's Wan recipe, 0.01 in the paper's."""
    denoising_steps: Annotated[
        tuple[Timestep, ...], Field(min_length=1, json_schema_extra={"known_as": ["t_list"]})
    ] = (1000.0,)
    """The timesteps that the student is sampled at, strictly descending; it jumps from each to the next, and to 0."""
    warp_denoising_steps: bool = False
    """Apply the run's flow shift to the denoising steps; false takes them as they are."""
    sampler: Literal["ode", "sde"] = "ode"
    """ode: from each step to the next. sde: from each step to 0, and noised anew for the next."""

    @field_validator("denoising_steps")
    @classmethod
    def _descending(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        return few_steps(steps)

    def contradictions(self) -> Iterator[str]:
        """A mixture, or guidance, without what it needs."""
        yield from super().contradictions()
        if self.velocity != "mixed" and self.guidance_mixture:
            yield "guidance_mixture is κ of velocity: mixed, and has no effect on another; leave it out"
        if self.velocity == "mixed" and not self.caption_dropout:
            yield (
                "velocity: mixed guides by the student's own prediction without a caption, which it never learns at caption_dropout: 0; "
                "set it to 0.1 or so"
            )

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Guidance of clips, and a distance of forwards that are not made."""
        yield from super().idle()
        if self.velocity == "data":
            yield "velocity is data, which has no guidance", ("guidance_scale",)
        if self.derivative == "jvp":
            yield "derivative is jvp", ("difference_step",)

    def warmup(self, step: int) -> float:
        """The weight of the derivative at a training step, counted from 1."""
        return 1.0 if self.tangent_warmup_steps == 0 else min(1.0, step / self.tangent_warmup_steps)

    def sampling(self, shift: Callable[[float], float]) -> ValidationRequest:
        """The student as it will be used: one evaluation a step, each a jump."""
        steps = (
            tuple(shift(step) for step in self.denoising_steps) if self.warp_denoising_steps else self.denoising_steps
        )
        return ValidationRequest(role="student", sampler=self.sampler, timesteps=steps, guidance_scale=1.0, until=True)
