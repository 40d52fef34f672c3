"""How a method asks for samples, and who carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

SamplerKind = Literal["ode", "sde"]
NoiseOf = Literal["shared", "own"]


@dataclass(frozen=True)
class ValidationRequest:
    """What to sample. What a method leaves None, the run's ``validation`` section decides.

    Attributes:
        role: the role that denoises; its EMA weights, where it has an EMA.
        sampler: "sde" predicts x0 and noises it anew for the next timestep; "ode" follows the flow. None: the family's default.
        steps: the number of steps of the family's own schedule.
        timesteps: explicit timesteps in [0, 1000], descending, instead of ``steps``.
        guidance_scale: s of uncond + s · (cond - uncond); 1 asks for no second evaluation.
        seeds: one video per prompt and seed.
        prompts: what the videos should show.
        attn_kind: the kind of attention of the predictions.
        sparsity: of a sparse kind. None: the sparsity that the run ends with.
        negative_prompt: what guidance leads away from. None: the family's own, ``unconditional`` of the role.
        noise: "shared" gives every prompt the same seeds; "own" gives each video a seed of its own, as a set that is measured needs.
        low_noise_guidance_scale: s of the expert for low noise, where a model has two; None: ``guidance_scale``.
        blocks: sample block by block of so many latent frames, each on a stream of those before; needs "blocks" and "stream".
        window: latent frames that the stream keeps, None all.
        sink: latent frames of the very beginning that it keeps besides.
        until: predictions are mean velocities to the next timestep: one evaluation jumps there; needs "until".
        first_frames: paths of the pictures that the videos begin with, one per prompt, for families that take one.
        last_frames: paths of the pictures that they end with.
    """

    role: str
    sampler: SamplerKind | None = None
    steps: int | None = None
    timesteps: tuple[float, ...] | None = None
    guidance_scale: float | None = None
    seeds: tuple[int, ...] | None = None
    prompts: tuple[str, ...] | None = None
    attn_kind: str = "dense"
    sparsity: float | None = None
    negative_prompt: str | None = None
    noise: NoiseOf = "shared"
    low_noise_guidance_scale: float | None = None
    blocks: int | None = None
    window: int | None = None
    sink: int = 0
    until: bool = False
    first_frames: tuple[str, ...] | None = None
    last_frames: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.timesteps is not None:
            raise ValueError("a ValidationRequest has steps or timesteps, not both")

    @property
    def parts(self) -> frozenset[str]:
        """What sampling asks of predictions beyond the velocity, by the names of operations."""
        causal = {"blocks", "stream", "frame_timesteps"} if self.blocks is not None else set()
        pictures = {"first_frame": self.first_frames is not None, "last_frame": self.last_frames is not None}
        shown = {name for name, given in pictures.items() if given}
        return frozenset(causal | shown | ({"until"} if self.until else set()))

    def seeds_of(self, index: int) -> tuple[int, ...]:
        """The seeds of the prompt at ``index``. Own ones go on where those of the prompt before end: S, S+1, … for the whole request."""
        seeds = self.seeds or ()
        return seeds if self.noise == "shared" else tuple(seed + index * len(seeds) for seed in seeds)


@dataclass(frozen=True)
class StreamTimes:
    """How long a video took that was made block by block, in seconds from its beginning.

    Attributes:
        first_block: until the frames of the first block could be shown.
        whole: until all could.
    """

    first_block: float
    whole: float


@dataclass(frozen=True)
class SampledVideo:
    """One sampled video.

    Attributes:
        prompt: what it should show.
        seed: the seed of its noise.
        frames: uint8 [F, H, W, 3].
        evaluations: how many times the denoiser ran for it.
        times: how long it took, where it was made block by block.
        first_frame: the picture that it should begin with, uint8 [H, W, 3], where the model was shown one.
    """

    prompt: str
    seed: int
    frames: Tensor
    evaluations: int
    times: StreamTimes | None = None
    first_frame: Tensor | None = None


class Validator(Protocol):
    """Carries out a request: samples, decodes, writes, logs. Leaves the state of training as it found it."""

    def validate(self, request: ValidationRequest, step: int) -> Sequence[Path]:
        """Sample what is asked for; returns the files written."""
        ...
