"""``method_config`` of knowledge distillation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator

from distill_core.plugins import Options
from distill_core.plugins.timesteps import TRAIN_TIMESTEPS, Timestep, few_steps, in_thousand
from distill_core.protocols.validator import ValidationRequest


class KdOptions(Options):
    """Options of knowledge distillation. Timesteps are in (0, 1000], 1000 is pure noise."""

    denoising_steps: Annotated[
        tuple[Timestep, ...],
        Field(min_length=1, json_schema_extra={"known_as": ["t_list", "dmd_denoising_steps", "denoising_step_list"]}),
    ] = (1000.0, 750.0, 500.0, 250.0)
    """The student's timesteps, strictly descending from 1000. A trailing 0 only marks the end and is no step of its own."""
    warp_denoising_steps: bool = False
    """Apply the run's flow shift to the denoising steps; false takes them as they are."""
    loss: Literal["states", "chain"] = "states"
    """states: from a state of the teacher's path, drawn per sample, to its end. chain: the student's whole chain of steps from the same
    noise, with the graph of all of them (DiffSynth's direct distillation)."""
    trajectories: Literal["made", "stored"] = "made"
    """made: the teacher's paths are made as the run goes on. stored: they are in the data; `distill data trajectories` puts them there."""
    stored_steps: Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(min_length=1)] | None = None
    """The timesteps whose states stored paths hold, the denoising steps among them; null: the denoising steps alone."""
    teacher_steps: Annotated[int, Field(ge=1, json_schema_extra={"known_as": ["teacher_num_steps"]})] = 48
    """Euler steps of the teacher, on its shifted uniform grid; denoising steps that the grid does not pass through are put in."""
    guidance_scale: Annotated[float, Field(ge=0, json_schema_extra={"known_as": ["teacher_guidance_scale"]})] = 5.0
    """Guidance s of the teacher, uncond + s·(cond - uncond): the student has it built in, and is sampled without. 1: none."""
    attn_kind: Literal["dense", "vsa"] = "dense"
    """Attention of the student; the teacher is dense."""

    @field_validator("denoising_steps")
    @classmethod
    def _descending(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        inner = few_steps(steps)
        if inner[0] != TRAIN_TIMESTEPS:
            raise ValueError(
                f"the teacher's paths begin with pure noise, at 1000, and the steps at {inner[0]:g}; begin with 1000 (999 elsewhere)"
            )
        return inner

    @field_validator("stored_steps")
    @classmethod
    def _of_a_thousand(cls, steps: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return None if steps is None else tuple(sorted(in_thousand(steps), reverse=True))

    def contradictions(self) -> Iterator[str]:
        """Stored paths that are not asked for, or would not hold the student's steps."""
        yield from super().contradictions()
        if self.stored_steps is not None and self.trajectories == "made":
            yield "stored_steps is what stored paths hold; set trajectories: stored, or leave it out"
        missing = [step for step in self.denoising_steps if step not in self.kept_steps]
        if missing:
            yield (
                f"stored paths would not hold the denoising steps {', '.join(f'{step:g}' for step in missing)}; "
                f"set stored_steps: {sorted({*self.kept_steps, *missing}, reverse=True)}"
            )

    @property
    def kept_steps(self) -> tuple[float, ...]:
        """The timesteps of a path's states, unwarped, its end not counted."""
        return self.denoising_steps if self.stored_steps is None else self.stored_steps

    def made_with(self) -> dict[str, object]:
        """What stored paths follow from, besides the run's flow shift."""
        return {
            "teacher_steps": self.teacher_steps,
            "guidance_scale": self.guidance_scale,
            "stored_steps": list(self.kept_steps),
            "warp_denoising_steps": self.warp_denoising_steps,
        }

    @property
    def places(self) -> tuple[int, ...]:
        """Where in a path the states at the denoising steps are."""
        return tuple(self.kept_steps.index(step) for step in self.denoising_steps)

    def warped(self, steps: tuple[float, ...], shift: Callable[[float], float]) -> tuple[float, ...]:
        """Timesteps warped by the run's flow shift if ``warp_denoising_steps`` says so."""
        return tuple(shift(step) for step in steps) if self.warp_denoising_steps else steps

    def sampling(self, shift: Callable[[float], float]) -> ValidationRequest:
        """The student as it will be used: its own steps along the flow, one evaluation each."""
        return ValidationRequest(
            role="student",
            sampler="ode",
            timesteps=self.warped(self.denoising_steps, shift),
            guidance_scale=1.0,
            attn_kind=self.attn_kind,
        )

    def notes(self) -> Iterator[str]:
        """What is easily overlooked."""
        if self.trajectories == "made":
            each = self.teacher_steps if self.guidance_scale == 1.0 else 2 * self.teacher_steps
            yield (
                f"method_config.trajectories: made costs {each} evaluations of the teacher for each sample; with stored, "
                "`distill data trajectories` makes paths once"
            )
