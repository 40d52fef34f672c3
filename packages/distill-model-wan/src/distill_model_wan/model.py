"""The Wan family at run time: its transformers under folded text, sparse attention and a float32 time embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import Tensor, nn

from distill_core.errors import DataError, ModelFolderError
from distill_core.plugins import ModelFacts
from distill_core.protocols import ModelPlugin, ModelRequest, ValidationRequest
from distill_diffusers.captions import TextParts
from distill_diffusers.conditions import TOKENS, CaptionTensors
from distill_diffusers.export_record import RecordedVsa
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.model import DiffusersModel
from distill_diffusers.model_card import PipelineCall
from distill_model_wan.adapter import WanAdapter
from distill_model_wan.attention import attend_causally, attend_sparsely, checkpoint_blocks, fold_text
from distill_model_wan.config import WanOptions, settled
from distill_model_wan.folder import TEXT_LENGTH, wan_folder
from distill_model_wan.passes import CAUSAL, FRAMEWISE
from distill_model_wan.pictures import PictureEncoder
from distill_model_wan.text import TextPacking, WanText
from distill_model_wan.time_embedding import Float32TimeEmbedding, has_second_time
from distill_model_wan.vsa import CUBE
from distill_model_wan.vsa.engines import Engine, Work, choose_engine
from distill_model_wan.vsa.gates import attach_gates, read_gates


class WanModel(DiffusersModel[WanOptions, WanText]):
    """The :class:`distill_core.protocols.ModelPlugin` of Wan."""

    call: ClassVar[PipelineCall] = PipelineCall("wan", TEXT_LENGTH, fps=16)
    float32: ClassVar[frozenset[str]] = frozenset({"time_embedder", "scale_shift_table", "norm1", "norm2", "norm3"})

    adapter: WanAdapter

    def settled(self, facts: ModelFacts, options: WanOptions) -> DiffusersFacts:
        """With the published shift where a folder records none."""
        return settled(facts, options)

    def cleaned(self, caption: str) -> str:
        """As WanPipeline cleans it."""
        return str(prompt_clean(caption))

    def encode_prompt(self, parts: TextParts, caption: str, length: int) -> CaptionTensors:
        """The caption through UMT5, its own tokens only, cut at the padded length."""
        encoder = parts["text_encoder"]
        tokens = parts["tokenizer"](
            [self.cleaned(caption)],
            padding="max_length",
            max_length=length,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask_1L = tokens.attention_mask.to(encoder.device)
        embeds_1LD: Tensor = encoder(tokens.input_ids.to(encoder.device), mask_1L).last_hidden_state
        return {TOKENS: embeds_1LD[0, : int(tokens.attention_mask.sum())]}

    def make_adapter(self) -> WanAdapter:
        """The operations."""
        fold = self.options.text_padding == "fold"
        return WanAdapter(
            self.facts,
            TextPacking(self.facts.text_length, fold, self.compute_dtype, self.device),
            self.captions,
            self.codec,
            PictureEncoder(wan_folder(self.facts), self.codec, self.device),
            negative_prompt=self.facts.negative_prompt,
            compute_dtype=self.compute_dtype,
        )

    def load_modules(self, request: ModelRequest) -> Mapping[str, nn.Module]:
        """The folder's transformer, or both experts, and what computes their sparse attention."""
        framewise, temporal = sorted(request.operations & FRAMEWISE), request.facts.patch[0]
        if framewise and temporal != 1:
            raise ModelFolderError(
                f"{request.facts.path}: its tokens span {temporal} latent frames, and {', '.join(framewise)} tell single frames apart; "
                "choose a model with a temporal patch of 1, or a method that asks for none of it"
            )
        lacking = sorted(request.operations & request.facts.lacks)
        if lacking:
            raise ModelFolderError(
                f"{request.facts.path} is shown pictures beside the whole video, and has no {', '.join(lacking)}; choose a text-to-video "
                "Wan, or a method that asks for none of it"
            )
        modules = super().load_modules(request)
        if "vsa" in request.attention:
            engine = self._engine(next(iter(modules.values())), request)
            self.adapter.passes.engines.update(dict.fromkeys(modules.values(), engine))
        return modules

    def prepare_denoiser(self, denoiser: Any, facts: DiffusersFacts, part: str, request: ModelRequest) -> None:
        """Give a transformer its gates and its processors."""
        assert isinstance(denoiser, WanTransformer3DModel)
        gates = read_gates(facts.folder, part)
        if "vsa" in request.attention:
            attach_gates(denoiser, gates, request.weights_dtype)
            attend_sparsely(denoiser)
        elif gates:
            request.tell(
                f"{facts.path}: {part} was trained with video sparse attention; this role attends densely, without its gates"
            )
        fold_text(denoiser)
        if request.operations & CAUSAL:
            attend_causally(denoiser)
            self.adapter.passes.causal.add(denoiser)
        embedder = denoiser.condition_embedder
        embedder.time_embedder = Float32TimeEmbedding(embedder.time_embedder, second_time="until" in request.operations)

    def export(
        self,
        modules: Mapping[str, nn.Module],
        base: ModelFacts,
        sampling: ValidationRequest,
        latent_shape: tuple[int, int, int, int],
        output: Path,
        dtype: torch.dtype,
    ) -> None:
        """Write a pipeline folder, as every family does. Raises ModelFolderError for transformers that have a second time."""
        if any(has_second_time(module) for module in modules.values()):
            raise ModelFolderError(
                "the role's transformer takes a second time (until), which WanPipeline cannot give it, so it has no export; "
                "`distill sample` samples it from the run's directory"
            )
        super().export(modules, base, sampling, latent_shape, output, dtype)

    def encode_columns(self, frames: Tensor | None, caption: str) -> Mapping[str, Tensor]:
        """What an image-to-video Wan is shown: the clip's own first frame (and last). Raises DataError for a caption without a clip."""
        if frames is None:
            raise DataError("an image-to-video Wan is shown pictures, and a caption alone has none; encode videos")
        pictures = [frames[0], frames[-1]][: len(self.facts.pictures)]
        count, height, width, _ = frames.shape
        return self.adapter.pictures.columns(pictures, (count, height, width))

    def encode_pictures(self, pictures: Sequence[Tensor], size_FHW: tuple[int, int, int]) -> Mapping[str, Tensor]:
        """What the data hold of pictures beside a caption alone."""
        return self.adapter.pictures.columns(pictures, size_FHW)

    def checkpoint_blocks(self, denoiser: Any) -> None:
        """Recompute the blocks' activations under the call that they were first computed for."""
        checkpoint_blocks(denoiser)

    def _engine(self, transformer: nn.Module, request: ModelRequest) -> Engine:
        """What computes the sparse attention of a role, told to the log. Raises ConfigError for one that cannot serve."""
        assert isinstance(transformer, WanTransformer3DModel)
        work = Work(self.device, self.compute_dtype, transformer.config.attention_head_dim)
        engine = choose_engine(self.options.vsa_engine, work)
        request.tell(f"video sparse attention by {engine.summary} (vsa_engine: {engine.name})")
        return engine

    def recorded_attention(self, request: ValidationRequest) -> RecordedVsa | None:
        """The sparsity and the cubes."""
        if request.attn_kind != "vsa":
            return None
        return RecordedVsa(sparsity=0.0 if request.sparsity is None else request.sparsity, cube=CUBE)


def _keeps_the_contract(model: WanModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
