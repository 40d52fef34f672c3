"""What a run.yaml may say of sampling: validation while it trains, and the comparison at its end."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from distill_core.config.section import PathText, Positive, Section
from distill_core.plugins.timesteps import in_thousand

if TYPE_CHECKING:
    from distill_core.protocols.validator import ValidationRequest

LowNoiseScale = Annotated[float, Field(ge=0)] | None
Pictures = Annotated[tuple[PathText, ...], Field(min_length=1)] | None
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What a generator on the CPU tells apart: of a larger number it uses the low 32 bits."""


class Validation(Section):
    """Samples during training. The method says which role, sampler and steps; this section says when and what of."""

    interval: Positive | None = None
    """Sample every so many steps, and at the end; null never samples."""
    at_start: bool = False
    """Also sample before the first step."""
    prompts: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """What to sample. null: the first captions of the data, `max_prompts` of them."""
    max_prompts: Positive = 4
    """How many captions of the data to take where `prompts` is null."""
    first_frames: Pictures = None
    """Of a model that makes videos of pictures: a picture file for each of `prompts`, that its videos begin with."""
    last_frames: Pictures = None
    """The same, that they end with."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """One video per prompt and seed, each another."""
    sampling_steps: Positive = 40
    """Steps of the family's own schedule, where the method leaves them open."""
    guidance_scale: Annotated[float, Field(ge=0)] = 5.0
    """s of uncond + s · (cond - uncond), where the method leaves it open; 1 is no guidance."""
    low_noise_guidance_scale: LowNoiseScale = None
    """s of the expert for low noise, where a model has two; null: `guidance_scale`."""
    fps: Annotated[float, Field(gt=0)] = 16.0
    """Frames per second of the written mp4 files."""

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"two equal seeds make one video twice; write {list(dict.fromkeys(seeds))}")
        return seeds


class ComparedRow(Section):
    """One way of sampling one role. What is null is as the method itself samples that role, or else as `validation` says."""

    role: str
    """The role to sample."""
    steps: Positive | None = None
    """Steps of the family's own schedule."""
    timesteps: Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(min_length=1)] | None = None
    """Explicit timesteps, descending, instead of `steps`."""
    sampler: Literal["ode", "sde"] | None = None
    """ode follows the flow; sde noises each prediction anew."""
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    """s of uncond + s · (cond - uncond); 1 is no guidance."""
    low_noise_guidance_scale: LowNoiseScale = None
    """s of the expert for low noise, where a model has two; null: `guidance_scale`."""
    attn_kind: Literal["dense", "vsa"] | None = None
    """Attention of the row; only a role that the method asks for vsa has it."""
    sparsity: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Sparsity of vsa in this row; null: `training.VSA_sparsity`."""
    blocks: Positive | None = None
    """Sample block by block of so many latent frames, each after those before it; as many as a clip has, or more: at once."""
    window: Positive | None = None
    """Latent frames before a block that it sees, the newest; null, with `blocks`: all."""
    sink: Annotated[int, Field(ge=0)] | None = None
    """Latent frames of the very beginning that a block sees besides."""
    num_frames: Positive | None = None
    """Frames of this row's clips, e.g. more than the run trains on; null: as many. A metric of clips of one length leaves the row out."""

    @field_validator("timesteps")
    @classmethod
    def _of_a_thousand(cls, timesteps: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return timesteps if timesteps is None else in_thousand(timesteps)

    @model_validator(mode="after")
    def _steps_or_timesteps(self) -> Self:
        if self.steps is not None and self.timesteps is not None:
            raise ValueError("give steps or timesteps, not both")
        return self


class Comparison(Section):
    """At the end of the run: several ways of sampling it, side by side, as a table and as a page of playing clips."""

    rows: Annotated[dict[str, ComparedRow], Field(min_length=1)]
    """What to compare, by the name that the table shows."""
    prompts: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """What to sample. null: the captions of the data, `max_prompts` of them."""
    max_prompts: Positive = 16
    """How many captions of the data to take where `prompts` is null."""
    first_frames: Pictures = None
    """Of a model that makes videos of pictures: a picture file for each of `prompts`, that its videos begin with."""
    last_frames: Pictures = None
    """The same, that they end with."""
    clips_per_prompt: Positive = 1
    """Clips of each prompt. Each clip has a noise of its own, the same in every row."""
    first_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The first clip's seed; the others count on from there."""
    page_clips: Positive = 12
    """Clips of each row that the page shows, from all over its prompts, the same of every row."""


def completed(
    request: "ValidationRequest", settings: Validation, prompts: tuple[str, ...], sparsity: float
) -> "ValidationRequest":
    """A request with what the method left open filled in: from the run's ``validation`` section, and the sparsity that it ends with."""
    open_steps = request.steps is None and request.timesteps is None
    return replace(
        request,
        steps=settings.sampling_steps if open_steps else request.steps,
        guidance_scale=settings.guidance_scale if request.guidance_scale is None else request.guidance_scale,
        low_noise_guidance_scale=(
            settings.low_noise_guidance_scale
            if request.guidance_scale is None and request.low_noise_guidance_scale is None
            else request.low_noise_guidance_scale
        ),
        seeds=settings.seeds if request.seeds is None else request.seeds,
        prompts=prompts if request.prompts is None else request.prompts,
        first_frames=settings.first_frames if request.prompts is None else request.first_frames,
        last_frames=settings.last_frames if request.prompts is None else request.last_frames,
        sparsity=sparsity if request.sparsity is None else request.sparsity,
    )
