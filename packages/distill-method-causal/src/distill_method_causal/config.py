"""``method_config`` of the causal methods. Timesteps are in [0, 1000], 1000 is pure noise; frames are latent frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from distill_core.plugins import Options
from distill_core.plugins.timesteps import Timestep, few_steps
from distill_core.protocols.validator import ValidationRequest

Steps = Annotated[tuple[Timestep, ...], Field(min_length=1)]


class CausalOptions(Options):
    """What every causal method has."""

    block: Annotated[
        int, Field(ge=1, json_schema_extra={"known_as": ["chunk_size", "num_frame_per_block", "num_frames_per_block"]})
    ] = 3
    """Latent frames of a block: what is made at once, and sees no later block. The last block has what is left."""

    @property
    def least_frames(self) -> int:
        """One block of all frames would see everything: a clip has more than one."""
        return self.block + 1


class ForcingOptions(CausalOptions):
    """Options of diffusion forcing."""

    density: Annotated[
        Literal["uniform", "logit_normal"], Field(json_schema_extra={"known_as": ["weighting_scheme"]})
    ] = "uniform"
    """Density of each block's σ before the run's flow shift."""
    logit_mean: float = 0.0
    """Mean of logit σ under logit_normal; above 0 draws more noise."""
    logit_std: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of logit σ under logit_normal."""
    min_timestep_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """σ is drawn from this share up, before the shift."""
    max_timestep_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """And up to this share."""
    loss_weighting: Literal["none", "bell"] = "none"
    """none: every noise level alike. bell: exp(-2 ((t - 500) / 1000)²) less its least, of mean 1 (elsewhere bsmntw); 0 at pure noise."""
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of samples trained with the empty caption, so that guidance has something to guide away from."""

    def contradictions(self) -> Iterator[str]:
        """Bounds of σ that leave nothing between them."""
        yield from super().contradictions()
        if self.min_timestep_ratio >= self.max_timestep_ratio:
            yield "min_timestep_ratio must be below max_timestep_ratio; between them σ is drawn"

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The shape of another density."""
        yield from super().idle()
        if self.density != "logit_normal":
            yield f"density is {self.density}", ("logit_mean", "logit_std")

    def sampling(self, _: object = None) -> ValidationRequest:
        """The student block by block, on the family's own schedule; steps and guidance are the run's to say."""
        return ValidationRequest(role="student", blocks=self.block)


class TeacherForcingOptions(ForcingOptions):
    """Options of teacher forcing."""

    context_noise: Timestep = 0.0
    """Clean context is noised to a timestep drawn per block up to this one, by a noise of its own, and still told to be clean."""


class FewStepOptions(CausalOptions):
    """What the methods have whose student samples in a few steps."""

    denoising_steps: Annotated[
        Steps, Field(json_schema_extra={"known_as": ["dmd_denoising_steps", "denoising_step_list", "t_list"]})
    ] = (1000.0, 750.0, 500.0, 250.0)
    """The student's timesteps, strictly descending. A trailing 0 only marks the end and is no step of its own."""
    warp_denoising_steps: bool = False
    """Apply the run's flow shift to the denoising steps; false takes them as they are."""
    guidance_scale: Annotated[float, Field(ge=0)] = 3.0
    """Guidance s of the teacher in the convention uncond + s·(cond - uncond)."""

    @field_validator("denoising_steps")
    @classmethod
    def _descending(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        few_steps(steps)
        return steps

    @property
    def steps(self) -> tuple[float, ...]:
        """The denoising steps without the end marker."""
        return few_steps(self.denoising_steps)

    def warped(self, shift: Callable[[float], float]) -> tuple[float, ...]:
        """The student's timesteps, warped by the run's flow shift of a timestep if ``warp_denoising_steps`` says so."""
        return tuple(shift(step) for step in self.steps) if self.warp_denoising_steps else self.steps

    def sampling(self, shift: Callable[[float], float]) -> ValidationRequest:
        """The student as it will be used: block by block, its own steps, one evaluation each."""
        return ValidationRequest(
            role="student", sampler="sde", timesteps=self.warped(shift), guidance_scale=1.0, blocks=self.block
        )


class CausalKdOptions(FewStepOptions):
    """Options of causal KD."""

    guidance_scale: Annotated[float, Field(ge=0)] = 5.0
    """Guidance s of the teacher's paths, uncond + s·(cond - uncond)."""
    trajectories: Literal["made", "stored"] = "made"
    """made: the teacher's paths are made as the run goes on. stored: they are in the data; `distill data trajectories` puts them there."""
    teacher_steps: Annotated[int, Field(ge=1, json_schema_extra={"known_as": ["teacher_num_steps"]})] = 48
    """Euler steps of a teacher's path, evenly spaced before the run's flow shift; the student's timesteps are put between them."""
    clean_blocks: bool = True
    """A block may also be the teacher's clean one: context that later blocks see, and no loss of its own."""

    def contradictions(self) -> Iterator[str]:
        """Paths that would not begin in pure noise."""
        yield from super().contradictions()
        if self.steps[0] != 1000:
            yield (
                f"paths begin in pure noise, and denoising_steps at {self.steps[0]:g}; 999 elsewhere is 1000 here: start at 1000"
            )

    def made_with(self) -> dict[str, object]:
        """What stored paths follow from, besides the run's flow shift; in the words of every method that stores such paths."""
        return {
            "teacher_steps": self.teacher_steps,
            "guidance_scale": self.guidance_scale,
            "stored_steps": list(self.steps),
            "warp_denoising_steps": self.warp_denoising_steps,
        }

    def notes(self) -> Iterator[str]:
        """What is easily overlooked."""
        if self.trajectories == "made":
            each = self.teacher_steps if self.guidance_scale == 1.0 else 2 * self.teacher_steps
            yield (
                f"method_config.trajectories: made costs {each} evaluations of the teacher for each sample; with stored, "
                "`distill data trajectories` makes paths once"
            )


class CausalConsistencyOptions(FewStepOptions):
    """Options of causal consistency distillation."""

    intervals: Annotated[int, Field(ge=2, json_schema_extra={"known_as": ["num_discretization_steps"]})] = 48
    """Intervals that the timesteps are cut into, evenly before the run's flow shift; one step of the teacher crosses one."""
    last_interval: bool = True
    """Also draw the interval that ends at 0, the only one whose target is no prediction; FastVideo never does."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Share of its weights that the target keeps after each of the student's steps."""
    ema_start_step: Annotated[int, Field(ge=1, json_schema_extra={"known_as": ["ema_start_iteration"]})] = 200
    """The first step after which the target moves; before, it stays what the student began as."""

    def keeps(self, step: int) -> dict[str, float]:
        """θ' ← d θ' + (1 - d) θ from ``ema_start_step`` on."""
        return {"target": self.ema_decay if step >= self.ema_start_step else 1.0}


def student_steps(_: Any, step: int) -> tuple[str, ...]:
    """The student, on every step."""
    return ("student",)
