"""``method_config`` of consistency, tcm and scm: what they share, and each one's own. σ = t / 1000, 1 is pure noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator

from distill_core.plugins import Options
from distill_core.plugins.timesteps import Timestep, few_steps
from distill_core.protocols.validator import ValidationRequest


class SharedOptions(Options):
    """What all three have."""

    pair: Annotated[Literal["teacher", "data"], Field(json_schema_extra={"known_as": ["use_cd"]})] = "teacher"
    """Where a state moves to. teacher: along the guided teacher's flow (distillation). data: along its own data and noise (training from
    clips; needs no teacher)."""
    guidance_scale: Annotated[float, Field(ge=0)] = 5.0
    """Guidance s of the teacher, uncond + s·(cond - uncond): the student has it built in. Of pair: teacher alone."""
    denoising_steps: Annotated[
        tuple[Timestep, ...], Field(min_length=1, json_schema_extra={"known_as": ["t_list"]})
    ] = (1000.0,)
    """The timesteps that the student is sampled at, strictly descending; noise is fresh at each. A trailing 0 only marks the end."""
    warp_denoising_steps: bool = False
    """Apply the run's flow shift to the denoising steps; false takes them as they are."""

    @field_validator("denoising_steps")
    @classmethod
    def _descending(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        return few_steps(steps)

    @property
    def teacher(self) -> bool:
        """Whether it has a teacher."""
        return self.pair == "teacher"

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Guidance of no teacher."""
        yield from super().idle()
        if not self.teacher:
            yield "pair is data, which has no guidance", ("guidance_scale",)

    def sampling(self, shift: Callable[[float], float]) -> ValidationRequest:
        """The student as it will be used: a prediction of x0 at each step, noised anew for the next."""
        steps = (
            tuple(shift(step) for step in self.denoising_steps) if self.warp_denoising_steps else self.denoising_steps
        )
        return ValidationRequest(role="student", sampler="sde", timesteps=steps, guidance_scale=1.0)


class DiscreteOptions(SharedOptions):
    """What consistency in discrete steps has: how far apart two states of a pair are, and how they are compared."""

    curve: Literal["linear", "edm"] = "linear"
    """r(t) at a ratio ρ. linear: r = ρ t in σ. edm: ECT's curve, which goes through σ / (1 - σ), the noise level of EDM that it is tuned
    for; on σ itself, as it stands elsewhere, its first stages are plain denoising."""
    max_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """ρ grows up to this (0.9961 in EDM2's recipe)."""
    distance: Literal["pseudo_huber", "squared"] = "pseudo_huber"
    """Of two predictions of x0, with m the mean square of their difference in a sample. pseudo_huber: √(m + c²) - c. squared: m."""
    huber_constant: Annotated[float, Field(gt=0)] = 5e-4
    """c. Elsewhere it is of the norm, not of the root mean square, √D as much for D numbers: 0.06 at D = 16,384 is 4.7e-4 here."""
    weighting: Literal["inverse_step", "c_out", "one"] = "inverse_step"
    """Of a sample's distance. inverse_step: 1 / (t - r) in σ. c_out: σ. one: 1."""

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The constant of another distance."""
        yield from super().idle()
        if self.distance == "squared":
            yield "distance is squared", ("huber_constant",)


class ConsistencyOptions(DiscreteOptions):
    """Options of consistency models with a curriculum."""

    target: Literal["student", "average"] = "student"
    """Whose prediction at the earlier state is aimed at: the student's own of the moment (iCT, ECT), or its moving average's (CM)."""
    target_decay: Annotated[float, Field(ge=0, le=1)] = 0.95
    """The share of its own weights that the average keeps at each of the student's updates. Of target: average alone."""
    ratio_base: Annotated[float, Field(gt=1, json_schema_extra={"known_as": ["q"]})] = 2.0
    """q: ρ = 1 - q^-(k + 1) at stage k, at most `max_ratio`. 4 in EDM2's recipe."""
    stage_steps: Annotated[int, Field(ge=1)] = 1000
    """Training steps of a stage. Elsewhere it is counted in images: 12.5 million (3.2 in EDM2's recipe), at their batch size."""
    timestep_density: Literal["uniform", "logit_normal"] = "uniform"
    """Density of σ before the run's flow shift."""
    logit_mean: float = 0.0
    """Mean of logit σ under logit_normal; above 0 draws more noise."""
    logit_std: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of logit σ under logit_normal."""
    min_timestep: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Timesteps are at least this."""

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The decay of no average, and the shape of another density."""
        yield from super().idle()
        if self.target == "student":
            yield "target is student", ("target_decay",)
        if self.timestep_density == "uniform":
            yield "timestep_density is uniform", ("logit_mean", "logit_std")

    def ratio(self, step: int) -> float:
        """ρ at a training step, counted from 1."""
        stage = (step - 1) // self.stage_steps
        return min(1.0 - float(self.ratio_base ** -(stage + 1.0)), self.max_ratio)


class TcmOptions(DiscreteOptions):
    """Options of truncated consistency, the second stage of a consistency model."""

    transition: Annotated[float, Field(gt=0, lt=1000)] = 500.0
    """Below it the first stage answers, above it the student learns. 1.0 in EDM's noise level is σ = 0.5."""
    boundary_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the samples that stand at the transition, where the student is held to the first stage."""
    boundary_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of their loss against that of the others."""
    density_freedom: Annotated[float, Field(gt=0)] = 0.01
    """Degrees of freedom of the Student t that the logarithm of σ / (1 - σ) is drawn from, above the transition."""
    density_scale: Annotated[float, Field(gt=0)] = 0.2
    """Its scale, around σ = 0.5."""

    def contradictions(self) -> Iterator[str]:
        """Sampling where nothing is trained."""
        yield from super().contradictions()
        below = [step for step in self.denoising_steps if step < self.transition]
        if below and not self.warp_denoising_steps:
            yield (
                f"the student learns nothing below the transition, {self.transition:g}, and would be sampled at "
                f"{', '.join(f'{step:g}' for step in below)}; leave those out, or lower the transition"
            )


class ScmOptions(SharedOptions):
    """Options of consistency in continuous time, on TrigFlow."""

    sigma_data: Annotated[float, Field(gt=0)] = 1.0
    """σ_d: the standard deviation of the latents, which are normalised to about 1 here (0.5 for pixels elsewhere)."""
    angle_mean: float = -1.0
    """Mean of log(σ_d tan t̂), normal: where in noise samples lie. Elsewhere P_mean; rCM 0.7."""
    angle_std: Annotated[float, Field(gt=0)] = 1.4
    """Its standard deviation. Elsewhere P_std; rCM 1.6."""
    tangent_warmup_steps: Annotated[int, Field(ge=0)] = 10000
    """Training steps over which the derivative grows to its full weight; until then it is mostly plain regression."""
    tangent_constant: Annotated[float, Field(gt=0)] = 0.1
    """c of g / (‖g‖ / √D + c), by which the tangent is normalised within a sample."""
    derivative: Literal["jvp", "differences"] = "jvp"
    """jvp: exact, needs a family with `along` and dense attention. differences: two more forwards, any family."""
    difference_step: Annotated[float, Field(gt=0, lt=0.5)] = 1e-3
    """Half the distance of those forwards, in σ along the path."""
    learn_variance: bool = True
    """Weigh samples by exp(-logvar(t̂)), learnt along (role `logvar`); false: all alike."""

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """A distance of forwards that are not made."""
        yield from super().idle()
        if self.derivative == "jvp":
            yield "derivative is jvp", ("difference_step",)

    def warmup(self, step: int) -> float:
        """r, the weight of the derivative at a training step, counted from 1."""
        return 1.0 if self.tangent_warmup_steps == 0 else min(1.0, step / self.tangent_warmup_steps)
