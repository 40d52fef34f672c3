"""The Wan family at run time: its transformers under folded text, sparse attention and a float32 time embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import Tensor

from distill_core.errors import DataError
from distill_core.plugins import ModelFacts
from distill_core.protocols import ModelPlugin, ModelRequest
from distill_diffusers.captions import TextParts
from distill_diffusers.conditions import TOKENS, CaptionTensors
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.model_card import PipelineCall
from distill_diffusers.passes.model import PassModel
from distill_model_wan.adapter import WanAdapter
from distill_model_wan.attention import checkpoint_blocks, fold_text, projected
from distill_model_wan.config import WanOptions, settled
from distill_model_wan.folder import TEXT_LENGTH, wan_folder
from distill_model_wan.passes import WanPasses
from distill_model_wan.pictures import PictureEncoder
from distill_model_wan.text import TextPacking, WanText


class WanModel(PassModel[WanOptions, WanText]):
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
            WanPasses(self.facts, self.device, self.compute_dtype),
            self.captions,
            self.codec,
            TextPacking(self.facts.text_length, fold, self.compute_dtype, self.device),
            PictureEncoder(wan_folder(self.facts), self.codec, self.device),
        )

    def project(self, attn: Any, hidden_BNW: Tensor, rotary: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Wan's."""
        return projected(attn, hidden_BNW, rotary)

    def prepare_denoiser(self, denoiser: Any, facts: DiffusersFacts, part: str, request: ModelRequest) -> None:
        """Let a transformer attend folded text."""
        fold_text(denoiser)
        super().prepare_denoiser(denoiser, facts, part, request)

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


def _keeps_the_contract(model: WanModel) -> ModelPlugin:
    """Read by mypy only."""
    return model
