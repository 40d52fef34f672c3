"""``method_config`` of nft and of reward-gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from distill_core.plugins import Options
from distill_core.plugins.timesteps import TRAIN_TIMESTEPS, in_thousand
from distill_core.protocols.validator import ValidationRequest


class WalkOptions(Options):
    """How clips are sampled to be rewarded: step by step, without guidance. Timesteps are in [0, 1000]."""

    sampling_steps: Annotated[int, Field(ge=1)] = 10
    """Steps of the run's shifted schedule, where `timesteps` names none."""
    timesteps: tuple[Annotated[float, Field(gt=0, le=1000)], ...] | None = None
    """The timesteps of a few-step student, strictly descending from 1000; null: `sampling_steps` of the schedule."""
    rollout_move: Literal["sde", "ode"] = "ode"
    """From one step to the next, also in sampling. ode: along the predicted flow. sde: fresh noise on the predicted x0, as in `dmd2`."""
    attn_kind: Literal["dense", "vsa"] = "dense"
    """Attention of the student, and of those that follow it; the reference is dense."""
    reference_weight: Annotated[float, Field(ge=0)] = 1e-4
    """Weight of mean (v - v_reference)², which holds the student near the role `reference`; 0 needs no such role."""

    @field_validator("timesteps")
    @classmethod
    def _descending(cls, timesteps: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if timesteps is None:
            return None
        in_thousand(timesteps)
        if not timesteps or timesteps[0] != TRAIN_TIMESTEPS or any(later >= now for now, later in pairwise(timesteps)):
            raise ValueError(
                f"clips are sampled from pure noise: timesteps must descend strictly from 1000, got {list(timesteps)}"
            )
        return timesteps

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """A number of steps beside the steps."""
        yield from super().idle()
        if self.timesteps is not None:
            yield "timesteps names the steps", ("sampling_steps",)
        if self.count == 1:
            yield "a clip takes one step", ("rollout_move",)

    @property
    def count(self) -> int:
        """How many steps a clip takes."""
        return self.sampling_steps if self.timesteps is None else len(self.timesteps)

    def sampling(self, _: Callable[[float], float]) -> ValidationRequest:
        """The student as its clips are sampled for rewards."""
        steps = self.sampling_steps if self.timesteps is None else None
        move, kind = self.rollout_move, self.attn_kind
        return ValidationRequest("student", move, steps, self.timesteps, guidance_scale=1.0, attn_kind=kind)


class NftOptions(WalkOptions):
    """Options of DiffusionNFT."""

    group_size: Annotated[int, Field(ge=2, json_schema_extra={"known_as": ["num_image_per_prompt"]})] = 8
    """Clips of each caption, held against each other: a reward counts as far as it is above its group's mean."""
    timesteps_per_clip: Annotated[int, Field(ge=1)] = 2
    """How many noise levels of each clip are trained on, each a forward with backward."""
    beta: Annotated[float, Field(gt=0, le=1, json_schema_extra={"known_as": ["nft_beta"]})] = 0.1
    """How far the two implied policies lie from the old one: v± = (1 ∓ β) v_old ± β v."""
    advantage_clip: Annotated[float, Field(gt=0, json_schema_extra={"known_as": ["adv_clip_max"]})] = 5.0
    """Advantages, in standard deviations of the group, are cut at this, which is then wholly good or wholly bad."""
    old_rate: Annotated[float, Field(ge=0, json_schema_extra={"known_as": ["decay_rate"]})] = 0.001
    """The old policy keeps `old_rate` · step of its weights after a step, up to `old_most`: fresh at first, slower later."""
    old_most: Annotated[float, Field(ge=0, le=1, json_schema_extra={"known_as": ["decay_max"]})] = 0.5
    """The most that it keeps."""

    def keeps(self, step: int) -> float:
        """The share of its weights that the old policy keeps after a step."""
        return min(self.old_rate * step, self.old_most)


class RewardGradientOptions(WalkOptions):
    """Options of ReFL and DRaFT."""

    reference_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of mean (v - v_reference)², which holds the student near the role `reference`; 0 needs no such role."""
    gradient: Literal["last_steps", "drawn_step"] = "last_steps"
    """last_steps: through the last `through` steps (DRaFT-K). drawn_step: through x̂0 of one of the later steps (ReFL)."""
    through: Annotated[int, Field(ge=1)] = 1
    """K of DRaFT-K under last_steps; each holds the graph of a forward."""
    drawn_from: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Under drawn_step, the share of the steps that come before any that is drawn: clips of early steps are too blurred to be judged."""
    reward_scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the reward in the loss."""

    def contradictions(self) -> Iterator[str]:
        """More steps with a gradient than a clip takes."""
        yield from super().contradictions()
        if self.gradient == "last_steps" and self.through > self.count:
            yield f"through is {self.through}, and a clip takes {self.count} steps; set it to at most that"

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Settings of the other way through."""
        yield from super().idle()
        yield f"gradient is {self.gradient}", ("drawn_from",) if self.gradient == "last_steps" else ("through",)

    def first_drawn(self) -> int:
        """The first index that drawn_step draws."""
        return min(int(self.drawn_from * self.count), self.count - 1)
