"""The Wan family at run time: loads a role's transformers, and lends the run its text encoder, its VAE, its adapter and its sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor, nn

from distill_core.errors import ConfigError, ModelFolderError, Problem
from distill_core.plugins import ModelFacts
from distill_core.protocols import ModelPlugin, ModelRequest, ValidationRequest
from distill_diffusers.loading import load_part
from distill_diffusers.quiet import without_norm_warning
from distill_model_wan.adapter import WanAdapter
from distill_model_wan.attention import attend_sparsely, checkpoint_blocks, fold_text
from distill_model_wan.config import WanOptions, settled
from distill_model_wan.encoders import CaptionEncoder, VideoCodec
from distill_model_wan.export import plan_export, write_export
from distill_model_wan.folder import WanFolder, wan_folder
from distill_model_wan.sampling import WanSampler
from distill_model_wan.text import TextPacking
from distill_model_wan.vsa.engines import Engine, Work, choose_engine
from distill_model_wan.vsa.gates import attach_gates, read_gates


class WanModel:
    """The :class:`distill_core.protocols.ModelPlugin` of Wan.

    Attributes:
        adapter: the operations.
        sampler: the sampler.
    """

    def __init__(
        self, facts: ModelFacts, options: WanOptions, device: torch.device, compute_dtype: torch.dtype
    ) -> None:
        """Load nothing yet. Raises ModelFolderError where the options contradict what the folder records."""
        without_norm_warning()
        folder = settled(facts, options)
        assert folder.flow_shift is not None
        self.device = device
        self.compute_dtype = compute_dtype
        self.flow_shift = folder.flow_shift
        self.text_length = folder.text_length
        self.vsa_engine = options.vsa_engine
        self.captions = CaptionEncoder(folder, self.text_length, device, compute_dtype)
        self.codec = VideoCodec(folder, device)
        self.adapter = WanAdapter(
            folder,
            TextPacking(self.text_length, options.text_padding == "fold", compute_dtype, device),
            self.flow_shift,
            self.captions,
            self.codec,
            negative_prompt=options.negative_prompt,
            compute_dtype=compute_dtype,
        )
        self.sampler = WanSampler(self.adapter, options.sampler_kind)

    def load_modules(self, request: ModelRequest) -> Mapping[str, nn.Module]:
        """The folder's transformer, or both experts, on the device.

        Raises ModelFolderError for a folder that was trained with another text length than this run's, ConfigError for weights that
        are narrower than the forward pass.
        """
        folder = wan_folder(request.facts)
        if folder.recorded_text_length not in (None, self.text_length):
            raise ModelFolderError(
                f"{folder.path} was trained with a padded text length of {folder.recorded_text_length}, this run conditions on "
                f"{self.text_length}; set pipeline_config.text_length to {folder.recorded_text_length} if every role was"
            )
        if request.weights_dtype.itemsize < self.compute_dtype.itemsize:
            message = f"weights of {request.weights_dtype} do not fit a forward pass in {self.compute_dtype}; set training.precision: bf16"
            raise ConfigError([Problem("roles", message)])
        modules = {name: self._load_transformer(folder, name, request) for name in folder.experts}
        if "vsa" in request.attention:
            engine = self._engine(next(iter(modules.values())), request)
            self.adapter.engines.update(dict.fromkeys(modules.values(), engine))
        if folder.boundary_ratio is not None:
            self.adapter.boundaries[modules["transformer"]] = folder.boundary_ratio
        return modules

    def _load_transformer(self, folder: WanFolder, name: str, request: ModelRequest) -> nn.Module:
        transformer: WanTransformer3DModel = load_part(WanTransformer3DModel, folder, name, request.weights_dtype)
        gates = read_gates(folder.path / name)
        if "vsa" in request.attention:
            attach_gates(transformer, gates, request.weights_dtype)
            attend_sparsely(transformer)
        elif gates:
            request.tell(
                f"{folder.path / name} was trained with video sparse attention; this role attends densely, without its gates"
            )
        transformer.to(self.device).train(request.trainable).requires_grad_(request.trainable)
        fold_text(transformer)
        embedder = transformer.condition_embedder
        embedder.time_embedder = Float32TimeEmbedding(embedder.time_embedder)
        if request.gradient_checkpointing:
            checkpoint_blocks(transformer)
        module: nn.Module = transformer
        return module

    def _engine(self, transformer: nn.Module, request: ModelRequest) -> Engine:
        """What computes the sparse attention of a role, told to the log. Raises ConfigError for one that cannot serve."""
        assert isinstance(transformer, WanTransformer3DModel)
        work = Work(self.device, self.compute_dtype, transformer.config.attention_head_dim)
        engine = choose_engine(self.vsa_engine, work)
        request.tell(f"video sparse attention by {engine.summary} (vsa_engine: {engine.name})")
        return engine

    def encode_video(self, frames: Tensor) -> Tensor:
        """uint8 frames [F, H, W, 3] as one raw latent [C, T, H, W], the posterior's mode, float32 on the CPU."""
        return self.codec.encode(frames)

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        """Captions as float32 tensors [L, D] on the CPU, trimmed to their own number of tokens."""
        return [self.captions(caption) for caption in captions]

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """How many tokens each caption has, its end included, before it is cut."""
        return [self.captions.count(caption) for caption in captions]

    def export(
        self,
        modules: Mapping[str, nn.Module],
        base: ModelFacts,
        sampling: ValidationRequest,
        latent_shape: tuple[int, int, int, int],
        output: Path,
        dtype: torch.dtype,
    ) -> None:
        """Write a diffusers pipeline folder that WanPipeline samples as ``sampling`` says, at ``latent_shape`` [T, C, H, W].

        Weights are stored in ``dtype``, those that diffusers always holds in float32 excepted. Raises ModelFolderError, before
        anything is written, if no diffusers scheduler can; RunDirectoryError if ``output`` is taken.
        """
        folder, kind = wan_folder(base), self.sampler.kind(sampling)
        plan = plan_export(folder, sampling, kind, latent_shape, self.text_length, self.flow_shift, dtype)
        write_export(modules, plan, output)


class Float32TimeEmbedding(nn.Module):
    """The transformer's time embedding, in float32 under autocast too: Wan keeps these weights in float32 whatever its other dtype.

    Takes over the layers of diffusers' TimestepEmbedding under their own names.
    """

    def __init__(self, plain: TimestepEmbedding) -> None:
        super().__init__()
        self.linear_1, self.act, self.linear_2 = plain.linear_1, plain.act, plain.linear_2

    def forward(self, features: Tensor) -> Tensor:
        """Sinusoidal features [N, freq_dim] to [N, width]."""
        with torch.autocast(features.device.type, enabled=False):
            embedded: Tensor = self.linear_2(self.act(self.linear_1(features)))
        return embedded


def _keeps_the_contract(model: WanModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
