"""Options that methods which match distributions share, in groups to inherit from. Imports no torch.

A method's options are a class that inherits from the groups that it uses, the first shown last:
``class MyOptions(CriticOptions, ScoreOptions, FewStepOptions)``.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from distill_core.plugins import ModelFacts, Options
from distill_core.plugins.timesteps import TRAIN_TIMESTEPS, Timestep, few_steps, in_thousand
from distill_core.protocols.validator import SamplerKind, ValidationRequest

DEFAULT_GUIDANCE_SCALE = 4.5

NOISY_START = 950.0
"""The least first timestep of a student that starts from pure noise: what is called 999 or 990 elsewhere is pure noise to the eye."""


class StepsOptions(Options):
    """The student's few steps."""

    dmd_denoising_steps: Annotated[tuple[Timestep, ...], Field(min_length=1)] = (1000.0, 750.0, 500.0, 250.0)
    """The student's timesteps, strictly descending. A trailing 0 only marks the end and is no step of its own."""
    warp_denoising_steps: bool = False
    """Apply the run's flow shift to the denoising steps; false takes them as they are."""
    attn_kind: Literal["dense", "vsa"] = "dense"
    """Attention of the student; every other role is dense."""

    @field_validator("dmd_denoising_steps")
    @classmethod
    def _descending(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        few_steps(steps)
        return steps

    @property
    def steps(self) -> tuple[float, ...]:
        """The denoising steps without the end marker."""
        return few_steps(self.dmd_denoising_steps)

    def warped(self, shift: Callable[[float], float]) -> tuple[float, ...]:
        """The student's timesteps, warped by the run's flow shift of a timestep if ``warp_denoising_steps`` says so."""
        return tuple(shift(step) for step in self.steps) if self.warp_denoising_steps else self.steps

    def sampled_by(self, sampler: SamplerKind, shift: Callable[[float], float]) -> ValidationRequest:
        """The student as it will be used: its own steps, one evaluation each."""
        return ValidationRequest(
            role="student",
            sampler=sampler,
            timesteps=self.warped(shift),
            guidance_scale=1.0,
            attn_kind=self.attn_kind,
        )


class FewStepOptions(StepsOptions):
    """The student's few steps, where its samples start, and how they go on."""

    rollout: Annotated[Literal["simulate", "data_latent"], Field(json_schema_extra={"known_as": ["rollout_mode"]})] = (
        "simulate"
    )
    """simulate: the student's own samples from noise, no data needed (DMD2 section 4.5). data_latent: noised latents of the data."""
    rollout_move: Literal["sde", "ode"] = "sde"
    """From one denoising step to the next, also in sampling. sde: fresh noise on the predicted x0. ode: along the predicted flow."""

    def contradictions(self) -> Iterator[str]:
        """A simulated rollout that does not begin in pure noise."""
        yield from super().contradictions()
        if self.rollout == "simulate" and self.steps[0] < NOISY_START:
            yield (
                f"rollout: simulate starts from pure noise, and dmd_denoising_steps starts at {self.steps[0]:g}: the student would be told "
                f"a wrong noise level; start it at {TRAIN_TIMESTEPS:g}, or set rollout: data_latent"
            )

    def sampling(self, shift: Callable[[float], float]) -> ValidationRequest:
        """The student as it will be used: its own steps, one evaluation each."""
        return self.sampled_by(self.rollout_move, shift)


class TurnsOptions(Options):
    """When the student is updated, and when those that learn from its samples."""

    generator_update_interval: Annotated[int, Field(ge=1)] = 5
    """Training steps per update of the student: with 5 on steps 5, 10, 15, …; the critic is updated on every step."""
    critic_rests: bool = False
    """The critic is not updated on the student's steps: the two take turns, with 5 the critic four times to the student's once."""
    critic_reuses_student_sample: bool = True
    """On a step that updates the student, train the critic on that same sample instead of a rollout of its own (saves a rollout)."""

    def contradictions(self) -> Iterator[str]:
        """Turns that leave the critic none."""
        yield from super().contradictions()
        if self.critic_rests and self.generator_update_interval == 1:
            yield (
                "critic_rests leaves the critic the steps between the student's, and generator_update_interval: 1 leaves none; "
                "set it to 2 or more, or critic_rests: false"
            )

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """A sample that no step shares."""
        yield from super().idle()
        if self.critic_rests:
            yield "critic_rests leaves no step that both learn on", ("critic_reuses_student_sample",)

    def turn(self, step: int, learners: tuple[str, ...]) -> tuple[str, ...]:
        """The learners on every step, the student too on every ``generator_update_interval``-th, or there in their stead."""
        if step % self.generator_update_interval:
            return learners
        return ("student",) if self.critic_rests else ("student", *learners)


class GuidanceOptions(Options):
    """Guidance of the teacher."""

    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    """Guidance s of the teacher in the convention uncond + s·(cond - uncond). null, and no `real_score_guidance_scale`: 4.5."""
    real_score_guidance_scale: Annotated[float, Field(ge=-1)] | None = None
    """The same in the convention cond + w·(cond - uncond), so s = w + 1. Give one of the two, not both."""
    low_noise_guidance_scale: Annotated[float, Field(ge=0)] | None = None
    """Guidance s of the teacher's expert for low noise, where it has two; null takes the guidance of the other."""
    guidance_range: tuple[Timestep, Timestep] = (0.0, 1000.0)
    """Score timesteps, both ends included, at which the teacher is guided; elsewhere it is not (arXiv 2404.07724), and costs one pass."""

    @field_validator("guidance_range")
    @classmethod
    def _of_a_thousand(cls, within: tuple[float, float]) -> tuple[float, float]:
        return in_thousand(within)

    def contradictions(self) -> Iterator[str]:
        """Guidance said twice, and a range that ends before it begins."""
        yield from super().contradictions()
        if self.guidance_scale is not None and self.real_score_guidance_scale is not None:
            yield (
                "guidance_scale and real_score_guidance_scale say the same in two conventions (s = w + 1); keep one of them"
            )
        if self.guidance_range[0] > self.guidance_range[1]:
            yield "guidance_range ends before it begins; exchange its two timesteps"

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Where to guide, without guidance."""
        yield from super().idle()
        if self.scale == 1.0 and self.low_noise_guidance_scale in (None, 1.0):
            yield "nothing is guided at a scale of 1", ("guidance_range",)

    @property
    def scale(self) -> float:
        """The teacher's guidance s of uncond + s·(cond - uncond)."""
        if self.guidance_scale is not None:
            return self.guidance_scale
        if self.real_score_guidance_scale is not None:
            return self.real_score_guidance_scale + 1.0
        return DEFAULT_GUIDANCE_SCALE

    @property
    def told_scale(self) -> float:
        """The s by which anything is guided: ``scale``, or that of the expert for low noise where ``scale`` is 1."""
        low_noise = self.low_noise_guidance_scale
        return low_noise if self.scale == 1.0 and low_noise is not None else self.scale

    def scale_at(self, timestep: float, boundary: float | None) -> float:
        """s at a timestep, 1 outside the range (arXiv 2404.07724, section 3). ``boundary``: between two experts of the teacher."""
        if not self.guidance_range[0] <= timestep <= self.guidance_range[1]:
            return 1.0
        low_noise = boundary is not None and timestep < boundary
        return self.low_noise_guidance_scale if low_noise and self.low_noise_guidance_scale is not None else self.scale

    def notes(self) -> Iterator[str]:
        """What the settings of another's convention mean here."""
        w = self.real_score_guidance_scale
        if w is not None:
            yield (
                f"method_config.real_score_guidance_scale: {w:g} is w of cond + w·(cond - uncond), so the teacher is guided by "
                f"s = {w + 1:g} of uncond + s·(cond - uncond); FastVideo's newer trainer writes s under this name: if that is meant, "
                f"write guidance_scale: {w:g}"
            )


class ScoreTimesteps(Options):
    """Where the scores of samples are compared, beside `min_timestep_ratio`, `max_timestep_ratio` and `score_floor`."""

    density: Literal["uniform", "logit_normal"] = "uniform"
    """Density of u before the shift."""
    logit_mean: float = 0.0
    """Mean of logit u under logit_normal; above 0 draws more noise."""
    logit_std: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of logit u under logit_normal."""
    shift: Annotated[float, Field(gt=0)] | None = None
    """The shift of these timesteps alone; null: the run's flow shift, as the student's warped steps and sampling have it."""
    bounds: Literal["clamp", "within"] = "clamp"
    """clamp: what lies outside the ratios after the shift is moved to them. within: u is drawn within them, then shifted and clamped."""

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The shape of another density."""
        yield from super().idle()
        if self.density == "uniform":
            yield "density is uniform", ("logit_mean", "logit_std")


class ScoreTimestepOptions(Options):
    """The timesteps to which samples are noised when they are scored, or judged."""

    min_timestep_ratio: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Score timesteps are clamped to at least this share of 1000."""
    max_timestep_ratio: Annotated[float, Field(ge=0, le=1)] = 0.98
    """Score timesteps are clamped to at most this share of 1000."""
    score_timesteps: ScoreTimesteps = ScoreTimesteps()
    """How the timesteps of scores are drawn."""
    score_floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """A step's samples are compared from this share of the next step's timestep up. Above 0 keeps variety (arXiv 2510.27684: 1)."""

    def contradictions(self) -> Iterator[str]:
        """Ratios out of order."""
        yield from super().contradictions()
        if self.min_timestep_ratio > self.max_timestep_ratio:
            yield "min_timestep_ratio is above max_timestep_ratio; exchange them"

    @property
    def scored_within(self) -> tuple[float, float]:
        """The least and the greatest timestep of a score."""
        return self.min_timestep_ratio * TRAIN_TIMESTEPS, self.max_timestep_ratio * TRAIN_TIMESTEPS


class NormalizerOptions(Options):
    """What the difference of two scores is divided by."""

    normalizer: Literal["per_sample", "per_batch", "none"] = "per_sample"
    """What the gradient is divided by: mean |x - x0_teacher| of each sample, of all that a process has at once (FastVideo), or nothing."""
    normalizer_floor: Annotated[float, Field(gt=0)] = 1e-6
    """The least that the gradient is divided by."""
    normalizer_floor_as: Literal["max", "sum"] = "max"
    """max: the gradient is divided by max(mean, floor). sum: by mean + floor."""

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The floor of no divisor."""
        yield from super().idle()
        if self.normalizer == "none":
            yield "normalizer is none", ("normalizer_floor", "normalizer_floor_as")


class CriticOptions(Options):
    """How the critic learns the student's samples."""

    critic_loss: Literal["velocity", "x0", "noise"] = "velocity"
    """The space of the critic's regression onto the student's samples; noise weights a sample by (1 - σ)², x0 by σ²."""


class ScoreCeilingOptions(Options):
    """Up to where samples of one step are scored."""

    score_ceiling: Annotated[Literal["noise", "step"], Field(json_schema_extra={"known_as": ["ts_schedule"]})] = "noise"
    """noise: up to pure noise. step: up to the sample's own timestep; with score_floor 1, between that and the next one alone."""


class ScoringOptions(CriticOptions, ScoreTimestepOptions, GuidanceOptions, TurnsOptions, FewStepOptions):
    """All that a student by turns with a critic has. Timesteps are in [0, 1000], 1000 is pure noise."""

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """A floor at the next step's timestep, where there is none."""
        yield from super().idle()
        if len(self.steps) == 1:
            yield "the student's one step has no next one", ("score_floor",)


class MatchingOptions(NormalizerOptions, ScoringOptions):
    """The same for a student that moves along the difference of the two scores."""


class DiscriminatorOptions(Options):
    """What a discriminator on the teacher's features sees, and what holds it back."""

    gan_layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """The teacher's hidden layers that the discriminator sees, from 0; null: at half, at three quarters, and the last."""
    gan_same_noise: bool = True
    """Real clips are noised to the timestep, and with the noise, of the sample that they stand beside."""
    gan_r1_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of approximate R1: the discriminator should answer a real clip alike when it is moved a little. 0: none; 0.1 elsewhere."""
    gan_r1_scale: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of that move, in normalised latents."""

    @property
    def judged(self) -> bool:
        """Whether a discriminator has a part."""
        return True

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Settings of no discriminator, or of no R1."""
        yield from super().idle()
        if not self.judged:
            yield "gan_weight is 0", ("gan_layers", "gan_same_noise", "gan_r1_weight", "gan_r1_scale")
        elif not self.gan_r1_weight:
            yield "gan_r1_weight is 0", ("gan_r1_scale",)

    def contradictions(self) -> Iterator[str]:
        """A layer named twice."""
        yield from super().contradictions()
        twice = sorted({layer for layer in self.gan_layers or () if (self.gan_layers or ()).count(layer) > 1})
        if twice:
            yield f"gan_layers names {', '.join(map(str, twice))} more than once; name each layer once"

    def misfits(self, facts: Mapping[str, ModelFacts]) -> Iterator[tuple[str, str]]:
        """Layers for the discriminator, where there is one, that the teacher does not have."""
        teacher = facts["teacher"]
        if (
            self.judged
            and self.gan_layers is not None
            and (not self.gan_layers or max(self.gan_layers) >= teacher.layers)
        ):
            yield (
                "gan_layers",
                f"is {list(self.gan_layers)}, and {teacher.path} has the layers 0 to {teacher.layers - 1}",
            )
