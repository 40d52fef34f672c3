"""A light look at a FLUX.2 klein pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from distill_core.plugins import LatentSpace
from distill_diffusers.denoiser_config import UNBOUNDED, shapes_of
from distill_diffusers.facts import DiffusersFacts, common_facts
from distill_diffusers.json_files import Json, Repeats
from distill_diffusers.pipeline_folder import PipelineKind, open_folder
from distill_diffusers.tensor_shapes import Shape, repeated
from distill_diffusers.two_streams import TwoStreamConfig

TEXT_LENGTH = 512
"""The padded length that the pipeline takes where a call says none."""
PATCH = 2
"""Rows and columns of the VAE's latents that are one of the pipeline's, as channels."""
LAYERS = 3
"""The layers of the text encoder whose outputs are a token's features, side by side."""
USUAL_STEPS = 50
"""The steps that a call of the pipeline makes where it says none: what the flow shift of training is that of."""


class TransformerConfig(TwoStreamConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 128
    num_layers: Repeats = 8
    num_single_layers: Repeats = 48
    attention_head_dim: int = 128
    num_attention_heads: int = 48
    joint_attention_dim: int = 15360
    guidance_embeds: bool = True


class VaeConfig(Json):
    """vae/config.json, with diffusers' defaults."""

    latent_channels: int = 32
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    batch_norm_eps: float = 1e-4


class TextConfig(Json):
    """text_encoder/config.json of Qwen3."""

    hidden_size: int


class Settings(Json):
    """What model_index.json says besides the parts."""

    is_distilled: bool = False


def dynamic_shift(config: Mapping[str, Any], tokens: int, steps: int | None) -> float:
    """The flow shift e^µ of the pipeline, which fits µ to numbers of tokens and steps (diffusers, compute_empirical_mu)."""
    many = 0.00016927 * tokens + 0.45666666  # 200 steps
    if tokens > 4300:
        return math.exp(many)
    few = 8.73809524e-05 * tokens + 1.89833333  # 10 steps
    slope = (many - few) / 190.0
    return math.exp(many + slope * ((USUAL_STEPS if steps is None else steps) - 200.0))


def _key_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those tensors by which weights and config.json may disagree."""
    width = config.width
    joined = {"attn.norm_q.weight": (config.attention_head_dim,)}
    return {
        "x_embedder.weight": (width, config.in_channels),
        "context_embedder.weight": (width, config.joint_attention_dim),
        "proj_out.weight": (config.in_channels, width),
        **repeated("transformer_blocks", config.num_layers, {"attn.to_q.weight": (width, width)}),
        **repeated("single_transformer_blocks", config.num_single_layers, joined),
    }


KLEIN = PipelineKind(
    name="FLUX.2 klein",
    pipeline="Flux2KleinPipeline",
    parts={
        "transformer": ("Flux2Transformer2DModel",),
        "vae": ("AutoencoderKLFlux2",),
        "text_encoder": ("Qwen3ForCausalLM",),
        "tokenizer": (),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    },
    supported="Supported is FLUX.2 klein text to image (4B, 9B, their base models), as Flux2KleinPipeline",
    example="black-forest-labs/FLUX.2-klein-base-4B",
    others={
        "Flux2Pipeline": "a FLUX.2 dev, whose text encoder and tokenizer are a Mistral's for pictures",
        "Flux2KleinInpaintPipeline": "a FLUX.2 klein that paints into pictures",
        "Flux2KleinKVPipeline": "a FLUX.2 klein that keeps what it attends of given pictures",
    },
    key_shapes={"transformer": shapes_of(TransformerConfig, _key_shapes)},
    dynamic_shift=dynamic_shift,
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported FLUX.2, naming what it is."""
    folder = open_folder(path, KLEIN)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(VaeConfig, "vae")
    qwen, distilled = folder.config(TextConfig, "text_encoder"), folder.settings(Settings).is_distilled
    channels = vae.latent_channels * PATCH**2
    folder.refuse_mismatch("transformer", transformer.in_channels, "VAE", channels, "channels a token")
    folder.refuse_mismatch(
        "transformer", transformer.joint_attention_dim, "Qwen3", LAYERS * qwen.hidden_size, "features of text"
    )
    common = common_facts(folder, text_length=TEXT_LENGTH)
    mean, variance = (folder.vector("vae", f"bn.running_{name}", channels) for name in ("mean", "var"))
    std = tuple(math.sqrt(each + vae.batch_norm_eps) for each in variance)
    return DiffusersFacts(
        **common,
        summary=folder.described(
            f"FLUX.2 klein, {transformer.described}{', distilled to few steps' if distilled else ''}"
        ),
        latent_space=LatentSpace(channels, 1, PATCH * 2 ** (len(vae.block_out_channels) - 1), mean, std),
        text_width=transformer.joint_attention_dim,
        patch=(1, 1, 1),
        max_positions=(1, UNBOUNDED, UNBOUNDED),
        feature_width=transformer.width,
        layers=transformer.all_layers,
        max_frames=1,
    )
