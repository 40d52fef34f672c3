"""``method_config`` of CausVid and of Self-Forcing. Timesteps are in [0, 1000], 1000 is pure noise; frames are latent frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from distill_core.protocols.validator import ValidationRequest
from distill_matching.options import DiscriminatorOptions, MatchingOptions


class CausalMatchingOptions(DiscriminatorOptions, MatchingOptions):
    """What both have."""

    block: Annotated[
        int, Field(ge=1, json_schema_extra={"known_as": ["chunk_size", "num_frame_per_block", "num_frames_per_block"]})
    ] = 3
    """Latent frames of a block: what is made at once, and sees no later block. The last block has what is left."""
    window: Annotated[int, Field(ge=1, json_schema_extra={"known_as": ["local_attn_size"]})] | None = None
    """Latent frames before a block that it sees, the newest; null: all."""
    sink: Annotated[int, Field(ge=0, json_schema_extra={"known_as": ["sink_size"]})] = 0
    """Latent frames of the very beginning that a block sees besides."""
    student_loss: Annotated[
        Literal["dmd", "sid", "gan"], Field(json_schema_extra={"known_as": ["distribution_loss"]})
    ] = "dmd"
    """dmd: the difference of two scores. sid: score identity, with gradients through both. gan: a discriminator alone, no critic."""
    gan_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a GAN loss beside dmd or sid, 0.001 to 0.03 elsewhere. Needs latents; 0: none."""
    sid_alpha: float = 1.0
    """α of score identity: the share of (real - fake)² that is taken off."""
    attn_kind: Literal["dense"] = "dense"
    """Attention of the student: causal attention is dense."""

    def contradictions(self) -> Iterator[str]:
        """A sink without a window, and what the student's loss leaves no room for."""
        yield from super().contradictions()
        if self.sink and self.window is None:
            yield ("without a window a block sees all frames before it, the first ones too; set window, or sink: 0")
        if self.student_loss == "gan" and self.gan_weight:
            yield ("student_loss: gan is the GAN alone, so there is nothing to weigh it against; leave gan_weight out")
        if self.student_loss == "sid" and self.normalizer != "per_sample":
            yield "student_loss: sid is divided by mean |x - real| of each sample; leave normalizer out"

    @property
    def judged(self) -> bool:
        """Whether a discriminator has a part."""
        return self.student_loss == "gan" or self.gan_weight > 0.0

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Settings of a loss that is not the student's."""
        yield from super().idle()
        if self.student_loss != "sid":
            yield f"student_loss is {self.student_loss}", ("sid_alpha",)
        if self.student_loss == "gan":
            scores = ("guidance_scale", "real_score_guidance_scale", "guidance_range", "critic_loss")
            yield "student_loss is gan, which has no scores", (*scores, "normalizer", "normalizer_floor")

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """Critic and discriminator, as far as there are, on every step; the student too on every ``generator_update_interval``-th."""
        learners = ("critic", "discriminator") if self.judged else ("critic",)
        return self.turn(step, learners if self.student_loss != "gan" else ("discriminator",))

    def sampling(self, shift: Callable[[float], float]) -> ValidationRequest:
        """The student as it will be used: block by block on a stream, its own steps, one evaluation each."""
        return replace(super().sampling(shift), blocks=self.block, window=self.window, sink=self.sink)


class CausvidOptions(CausalMatchingOptions):
    """Options of CausVid."""

    rollout: Literal["data_latent"] = "data_latent"
    """The student predicts noised latents of the data, each block at one of its steps or clean."""

    def contradictions(self) -> Iterator[str]:
        """What a single pass over whole clips does not have."""
        yield from super().contradictions()
        if self.window is not None:
            yield (
                "causvid trains in one pass, where a block sees all blocks before it; leave window out, or take self-forcing"
            )
        if self.score_floor:
            yield ("score_floor is of one step for the whole clip, and here each block has its own; leave it out")


class StreamedOptions(CausalMatchingOptions):
    """What the methods have whose student streams its clips."""

    rollout: Literal["simulate"] = "simulate"
    """The student makes clips of its own, block after block."""
    same_step_across_blocks: bool = True
    """One drawn step for all blocks of a step, or one for each."""
    extra_blocks: Annotated[int, Field(ge=0)] = 0
    """Up to so many blocks more than the data's clips have: rollouts are longer, and their last frames are what is judged."""

    def contradictions(self) -> Iterator[str]:
        """A floor that is of one step, where each block has its own."""
        yield from super().contradictions()
        if self.score_floor and not self.same_step_across_blocks:
            yield ("score_floor is of one step for the whole clip; set same_step_across_blocks: true, or leave it out")


class SelfForcingOptions(StreamedOptions):
    """Options of Self-Forcing."""


class LongTuningOptions(StreamedOptions):
    """Options of streaming long tuning."""

    extra_blocks: Literal[0] = 0
    """None: sequences grow from step to step, up to `max_frames`."""
    student_loss: Annotated[Literal["dmd", "sid"], Field(json_schema_extra={"known_as": ["distribution_loss"]})] = "dmd"
    """dmd: the difference of two scores. sid: score identity, with gradients through both."""
    critic_reuses_student_sample: Literal[True] = True
    """The critic learns the chunk that the student is judged by: another one would be another sequence."""
    overlap: Annotated[int, Field(ge=1)] = 3
    """Latent frames of a chunk that were there before: context, in no loss. A multiple of `block`."""
    max_frames: Annotated[int, Field(ge=2)] = 120
    """Latent frames after which a sequence is given up for a new one, of the batch that comes then. A multiple of `block`."""

    def contradictions(self) -> Iterator[str]:
        """Lengths that are no whole blocks, sequences that do not grow, and a discriminator of them."""
        yield from super().contradictions()
        for name, frames in (("overlap", self.overlap), ("max_frames", self.max_frames)):
            if frames % self.block:
                whole = max(1, frames // self.block) * self.block
                yield f"{name}: {frames} is no multiple of block: {self.block}; set it to {whole}"
        if self.max_frames <= self.overlap:
            yield "max_frames is no more than overlap, so that no sequence would grow; set it higher"
        if self.gan_weight:
            yield ("a discriminator would hold sequences against clips of other captions; leave gan_weight out")
