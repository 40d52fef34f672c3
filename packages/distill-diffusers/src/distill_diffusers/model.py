"""A family of diffusers pipelines at run time: loads a role's denoisers, and lends the run its encoders, adapter and sampler.

A family says how its pipeline encodes a prompt and calls its denoiser, and what else is its own. B batch, C latent channels, T latent
frames, F pixel frames, H W rows and columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic

import torch
from torch import Tensor, nn

from distill_core.errors import ConfigError, ModelFolderError, Problem
from distill_core.flow.guided import led_away
from distill_core.plugins import ModelFacts
from distill_core.protocols import ModelRequest, ValidationRequest
from distill_core.training.recompute import recomputed
from distill_diffusers.adapter import ConditionT, DiffusersAdapter
from distill_diffusers.caption_store import CaptionStore
from distill_diffusers.captions import CaptionEncoder, TextParts
from distill_diffusers.codec import VideoCodec
from distill_diffusers.conditions import TOKENS, CaptionTensors
from distill_diffusers.export import Conditions, ExportPlan, plan_sampling, write_export
from distill_diffusers.export_faults import export_faults
from distill_diffusers.export_record import RecordedVsa
from distill_diffusers.facts import DiffusersFacts, diffusers_facts
from distill_diffusers.loading import load_part
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.options import OptionsT, settled
from distill_diffusers.own_steps import OwnSteps
from distill_diffusers.quiet import without_norm_warning
from distill_diffusers.sampling import FlowSampler
from distill_diffusers.schedule import Schedule


class DiffusersModel(ABC, Generic[OptionsT, ConditionT]):
    """A :class:`distill_core.protocols.ModelPlugin`. Families of which :class:`CaptionModel` says enough begin with that.

    Attributes:
        call: what an export's card says of the family.
        schedule: how its pipeline asks for timesteps and draws noise.
        float32: names within a weight's name that diffusers holds in float32 whatever dtype a denoiser is loaded in.
        picture_vae: whether its VAE takes and gives pictures, [B, 3, H, W], and knows no frames.
        adapter: the operations.
        sampler: the sampler.
    """

    call: ClassVar[PipelineCall]
    schedule: ClassVar[Schedule] = Schedule()
    float32: ClassVar[frozenset[str]] = frozenset()
    picture_vae: ClassVar[bool] = False

    def __init__(self, facts: ModelFacts, options: OptionsT, device: torch.device, compute_dtype: torch.dtype) -> None:
        """Load nothing yet. Raises ModelFolderError where the options contradict what the folder records."""
        without_norm_warning()
        self.facts: DiffusersFacts = self.settled(facts, options)
        self.options = options
        self.device = device
        self.compute_dtype = compute_dtype
        self.captions = CaptionEncoder(self.facts, self.encode_prompt, self.facts.text_length, device, compute_dtype)
        self.codec = VideoCodec(self.facts, self.encode_pixels, self.decode_raw, device)
        self.adapter: DiffusersAdapter[ConditionT] = self.make_adapter()
        self.own_steps = self.make_own_steps()
        self.sampler = FlowSampler(self.adapter, self.schedule, options.sampler_kind, self.guided, self.own_steps)

    # What a family says

    @abstractmethod
    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """One caption by the pipeline's tokenizers and text encoders, as tensors without a batch dimension.

        "tokens" [L, D] is one of them: the caption's own tokens, cut at ``length``, without padding.
        """
        ...

    @abstractmethod
    def make_adapter(self) -> DiffusersAdapter[ConditionT]:
        """The operations."""
        ...

    def settled(self, facts: ModelFacts, options: OptionsT) -> DiffusersFacts:
        """A folder's facts under the run's options."""
        return settled(facts, options)

    def cleaned(self, caption: str) -> str:
        """A caption as it goes to the tokenizer."""
        return caption

    def encode_pixels(self, vae: Any, pixels_B3FHW: Tensor) -> Tensor:
        """Pixels in [-1, 1] as raw latents [B, C, T, H, W]: the mode of the posterior."""
        raw: Tensor = vae.encode(pixels_B3FHW[:, :, 0] if self.picture_vae else pixels_B3FHW).latent_dist.mode()
        return raw[:, :, None] if self.picture_vae else raw

    def decode_raw(self, vae: Any, raw_BCTHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Raw latents as pixels [B, 3, F, H, W]. A VAE that draws does from ``generator``, the sample's own, or the same each time."""
        pixels: Tensor = vae.decode(raw_BCTHW[:, :, 0] if self.picture_vae else raw_BCTHW, return_dict=False)[0]
        return pixels[:, :, None] if self.picture_vae else pixels

    def guided(self, cond_BTCHW: Tensor, uncond_BTCHW: Tensor, scale: float) -> Tensor:
        """How the pipeline guides; a method's own guidance, in training, is :func:`distill_core.flow.guided.led_away`."""
        return led_away(cond_BTCHW, uncond_BTCHW, scale)

    def make_own_steps(self) -> OwnSteps | None:
        """The steps of a pipeline whose scheduler counts noise in another way than a flow does; None for a flow."""
        return None

    def export_faults(self, facts: DiffusersFacts, request: ValidationRequest) -> Iterator[str]:
        """Why no pipeline samples a role of these settled facts so, each reason with the way on; a family adds its own.

        Its ``notes`` say the same before training, in the same words (:func:`distill_diffusers.notes.of_exports`).
        """
        return export_faults(facts, request, self.sampler.kind(request), self.schedule.asks, self.own_steps)

    def prepare_denoiser(self, denoiser: Any, facts: DiffusersFacts, part: str, request: ModelRequest) -> None:
        """A denoiser was loaded, and is on the CPU: a chance to change its layers."""

    def checkpoint_blocks(self, denoiser: Any) -> None:
        """Let the denoiser recompute its blocks' activations in backward."""
        denoiser.enable_gradient_checkpointing(gradient_checkpointing_func=partial(recomputed, draws=True))

    def card_arguments(self) -> Mapping[str, object]:
        """Further arguments of the pipeline's call, for an export's card: those that follow from the options."""
        return {} if self.facts.told_guidance is None else {"guidance_scale": self.facts.told_guidance}

    def recorded_attention(self, request: ValidationRequest) -> RecordedVsa | None:
        """What an export records of the attention that it was trained with."""
        return None

    # What every family does

    def load_modules(self, request: ModelRequest) -> Mapping[str, nn.Module]:
        """The folder's denoiser, or both experts, on the device.

        Raises ModelFolderError for a folder that was trained with another text length than this run's, ConfigError for weights that
        are narrower than the forward pass.
        """
        facts = diffusers_facts(request.facts)
        if facts.recorded_text_length not in (None, self.facts.text_length):
            raise ModelFolderError(
                f"{facts.path} was trained with a padded text length of {facts.recorded_text_length}, this run conditions on "
                f"{self.facts.text_length}; set pipeline_config.text_length to {facts.recorded_text_length} if every role was"
            )
        if request.trainable and facts.frozen_alone:
            raise ModelFolderError(f"{facts.frozen_alone}; name plain weights for a role that trains all of them")
        if request.weights_dtype.itemsize < self.compute_dtype.itemsize:
            message = f"weights of {request.weights_dtype} do not fit a forward pass in {self.compute_dtype}; set training.precision: bf16"
            raise ConfigError([Problem("roles", message)])
        modules = {name: self._load_expert(facts, name, request) for name in facts.experts}
        if facts.boundary is not None:
            self.adapter.boundaries[next(iter(modules.values()))] = facts.boundary
        return modules

    def _load_expert(self, facts: DiffusersFacts, name: str, request: ModelRequest) -> nn.Module:
        denoiser = load_part(facts, name, request.weights_dtype, later=request.later)
        assert isinstance(denoiser, nn.Module)
        self.prepare_denoiser(denoiser, facts, name, request)
        if not any(parameter.is_meta for parameter in denoiser.parameters()):
            denoiser.to("cpu" if request.on_host else self.device)
        denoiser.train(request.trainable).requires_grad_(request.trainable)
        if request.gradient_checkpointing:
            self.checkpoint_blocks(denoiser)
        return denoiser

    def encode_ahead(self, captions: Sequence[str], folder: Path, *, writes: bool) -> None:
        """Encode captions that the run will ask for, while no role takes memory; what ``folder`` has of them already is read there."""
        self.adapter.encode_ahead(captions, CaptionStore(folder, self.captions.key, writes=writes))

    def encode_video(self, frames: Tensor) -> Tensor:
        """uint8 frames [F, H, W, 3] as one raw latent [C, T, H, W], the posterior's mode, float32 on the CPU."""
        return self.codec.encode(frames)

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        """Captions as float32 tensors [L, D] on the CPU, trimmed to their own number of tokens."""
        return [self.captions(caption)[TOKENS] for caption in captions]

    def encode_columns(self, frames: Tensor | None, caption: str) -> Mapping[str, Tensor]:
        """The columns that the family declares: what its encoders make of a caption besides tokens."""
        made = self.captions(caption)
        return {column.name: made[column.name] for column in self.facts.columns}

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """How many tokens each caption has, its end included, before it is cut."""
        return [self.captions.count(self.cleaned(caption)) for caption in captions]

    def export(
        self,
        modules: Mapping[str, nn.Module],
        base: ModelFacts,
        sampling: ValidationRequest,
        latent_shape: tuple[int, int, int, int],
        output: Path,
        dtype: torch.dtype,
    ) -> None:
        """Write a pipeline folder that plain diffusers samples as ``sampling`` says, at ``latent_shape`` [T, C, H, W].

        Weights are stored in ``dtype``, those that diffusers always holds in float32 excepted. Raises ModelFolderError, before
        anything is written, with every reason if no pipeline can; RunDirectoryError if ``output`` is taken.
        """
        facts, kind = self.settled(base, self.options), self.sampler.kind(sampling)
        faults = tuple(self.export_faults(facts, sampling))
        if faults:
            raise ModelFolderError("\n".join(faults))
        trained = Conditions(
            latent_shape=latent_shape,
            text_length=self.facts.text_length,
            flow_shift=self.facts.flow_shift,
            sampling_shift=self.facts.sampling_shift,
            negative_prompt=self.facts.negative_prompt,
            vsa=self.recorded_attention(sampling),
            told_guidance=self.facts.told_guidance,
        )
        scheduler, record = plan_sampling(facts, sampling, kind, self.schedule, trained, self.own_steps)
        call = replace(self.call, arguments={**self.call.arguments, **self.card_arguments()})
        write_export(modules, ExportPlan(facts, scheduler, record, call, dtype, self.float32), output)
