"""Denoisers of FLUX's build, as HunyuanVideo's: blocks that keep text and latents apart, then blocks that hold both as one.

What their config.json files have alike. Imports no torch.
"""

from __future__ import annotations

from distill_diffusers.denoiser_config import DenoiserConfig
from distill_diffusers.json_files import Repeats
from distill_diffusers.lora_layers import MLP
from distill_diffusers.tensor_shapes import Shape, repeated

JOINT_MLP = (*MLP, "*.proj_mlp", "*single_transformer_blocks.*.proj_out")
"""The feed-forward layers of both kinds of blocks, for :func:`distill_diffusers.lora_layers.lora_support`."""


class TwoStreamConfig(DenoiserConfig):
    """config.json of such a denoiser."""

    num_single_layers: Repeats

    @property
    def all_layers(self) -> int:
        """Blocks of both kinds."""
        return self.num_layers + self.num_single_layers

    @property
    def described(self) -> str:
        """How many of each, for a person."""
        return f"{self.num_layers} + {self.num_single_layers} layers"

    @property
    def key_shapes(self) -> dict[str, Shape]:
        """A tensor of each block, by which weights and config.json may disagree."""
        query = {"attn.to_q.weight": (self.width, self.width)}
        return {
            **repeated("transformer_blocks", self.num_layers, query),
            **repeated("single_transformer_blocks", self.num_single_layers, query),
        }


class ToldConfig(TwoStreamConfig):
    """That of one whose time embedding is told one vector of the caption and, of some members, a guidance scale."""

    pooled_projection_dim: int
    guidance_embeds: bool

    def told(self, published: float) -> float | None:
        """The guidance scale that it is published with, of a member that is told one."""
        return published if self.guidance_embeds else None

    @property
    def described(self) -> str:
        """How many of each, and whether it is told a guidance scale."""
        return super().described + (", told a guidance scale" if self.guidance_embeds else "")

    @property
    def key_shapes(self) -> dict[str, Shape]:
        """Those of the blocks and of the time embedding."""
        embedder = "time_text_embed.{}_embedder.linear_1.weight"
        guidance = {embedder.format("guidance"): (self.width, 256)} if self.guidance_embeds else {}
        return {embedder.format("text"): (self.width, self.pooled_projection_dim), **guidance, **super().key_shapes}
