"""``method_config`` of phased-dmd."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from distill_core.plugins import ModelFacts
from distill_core.plugins.timesteps import TRAIN_TIMESTEPS, shifted
from distill_core.protocols.validator import ValidationRequest
from distill_matching.options import NOISY_START, GuidanceOptions, NormalizerOptions, StepsOptions, TurnsOptions

Phase = Literal["high", "low"]
PHASES: tuple[Phase, Phase] = ("high", "low")

NEAR = 1e-6
"""Timesteps nearer than this are the same."""


class PhasedDmdOptions(NormalizerOptions, GuidanceOptions, TurnsOptions, StepsOptions):
    """Options of phased DMD. Timesteps are in [0, 1000], 1000 is pure noise."""

    normalizer_floor: Annotated[float, Field(gt=0)] = 1e-4
    """The least that the gradient is divided by."""
    boundary: Annotated[
        float, Field(gt=0, lt=1000, json_schema_extra={"known_as": ["match_step", "boundary_step"]})
    ] = 875.0
    """Where the two phases meet, a timestep as the network is told it (after the flow shift). Of two experts, where these meet."""
    boundary_margin: Annotated[float, Field(ge=0, lt=1000)] = 20.0
    """The high phase is scored at least so far above the boundary, before the flow shift: nearer, too little noise is new."""
    min_timestep_ratio: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Score timesteps of the low phase, before the flow shift, are at least this share of 1000."""
    max_timestep_ratio: Annotated[float, Field(ge=0, le=1)] = 0.98
    """Score timesteps of the high phase, before the flow shift, are at most this share of 1000."""

    def contradictions(self) -> Iterator[str]:
        """A beginning that is not pure noise, and a phase without a step."""
        yield from super().contradictions()
        if self.steps[0] < NOISY_START:
            yield (
                f"samples start from pure noise, and dmd_denoising_steps starts at {self.steps[0]:g}: the student would be told a wrong "
                f"noise level; start it at {TRAIN_TIMESTEPS:g}"
            )
        if not self.warp_denoising_steps:
            try:
                self.indices(self.steps, "high")
            except ValueError as error:
                yield str(error)

    def left_out(self, steps: int) -> Iterator[str]:
        """The second phase, whose student is first updated at the end of its turn."""
        yield from super().left_out(steps)
        turn = self.generator_update_interval
        if steps < 2 * turn:
            yield (
                f"the student of the low phase is not updated in {steps} steps: the phases take turns of {turn} "
                f"(method_config.generator_update_interval), the high one first; {2 * turn} steps train both"
            )

    def phase(self, step: int) -> Phase:
        """Which phase a training step is of: they alternate, as many steps each as lead to one update of the student, high first."""
        return "low" if (step - 1) // self.generator_update_interval % 2 else "high"

    def indices(self, steps: tuple[float, ...], phase: Phase) -> tuple[int, ...]:
        """Which of the student's timesteps are of a phase. Raises ValueError if one of the two phases has none."""
        high = tuple(index for index, step in enumerate(steps) if step > self.boundary)
        low = tuple(index for index, step in enumerate(steps) if step <= self.boundary)
        if not high or not low:
            where = "below" if high else "above"
            listed = [round(step, 1) for step in steps]
            raise ValueError(f"{self.boundary:g} has no step of {listed} {where} it; set it between two of them")
        return high if phase == "high" else low

    def window(self, phase: Phase, met: float) -> tuple[float, float]:
        """A phase's score timesteps before the flow shift, which moves ``met`` to the boundary. Raises ValueError if there are none."""
        least, most = TRAIN_TIMESTEPS * self.min_timestep_ratio, TRAIN_TIMESTEPS * self.max_timestep_ratio
        low, high = (met + self.boundary_margin, most) if phase == "high" else (least, met)
        if low >= high:
            raise ValueError(
                f"{self.boundary:g} leaves the {phase} phase no timestep to be scored at, before the flow shift they go from {low:g} to "
                f"{high:g}; move it, or change boundary_margin, min_timestep_ratio or max_timestep_ratio"
            )
        return low, high

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The critic on every step, the student too on every ``generator_update_interval``-th, or there in its stead."""
        return self.turn(step, ("critic",))

    def sampling(self, shift: Callable[[float], float]) -> ValidationRequest:
        """The student as it will be used: its own steps along the flow, one evaluation each."""
        return self.sampled_by("ode", shift)

    def misfits(self, facts: Mapping[str, ModelFacts]) -> Iterator[tuple[str, str]]:
        """A boundary that is none of the models', or on a step of theirs, or that leaves a phase without a step."""
        shift = facts["student"].flow_shift
        if shift is None:
            return  # known when the models are there
        steps = self.warped(lambda step: shifted(step, shift))
        try:
            self.indices(steps, "high")
            for phase in PHASES:
                self.window(phase, shifted(self.boundary, 1.0 / shift))
        except ValueError as error:
            yield "boundary", str(error)
        for role, fact in facts.items():
            if fact.boundary is None:
                continue
            if abs(fact.boundary - self.boundary) > NEAR:
                yield (
                    "boundary",
                    f"is {self.boundary:g}, and the experts of {role} meet at {fact.boundary:g}; set it to that",
                )
            elif any(abs(step - fact.boundary) < NEAR for step in steps):
                yield (
                    "dmd_denoising_steps",
                    f"has a step just where the experts of {role} meet, {fact.boundary:g}, and not all samplers have the same one denoise "
                    "there; move it a little down, e.g. 499 in place of 500",
                )
