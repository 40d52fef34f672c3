"""A light look at a FLUX.1 pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from distill_diffusers.clip_text import ClipConfig, pooled_column
from distill_diffusers.denoiser_config import UNBOUNDED, shapes_of
from distill_diffusers.facts import DiffusersFacts, common_facts
from distill_diffusers.json_files import Repeats
from distill_diffusers.picture_vae import PictureVaeConfig
from distill_diffusers.pipeline_folder import PipelineKind, open_folder
from distill_diffusers.t5_encoder import T5Config
from distill_diffusers.tensor_shapes import Shape
from distill_diffusers.two_streams import ToldConfig

TEXT_LENGTH = 512
"""The padded length that FLUX.1-dev is published with; FLUX.1-schnell has 256 (``pipeline_config.text_length``)."""
PUBLISHED_GUIDANCE = 3.5
"""The guidance scale that FLUX.1-dev is told where a call of the pipeline says none."""
PATCH = 2
"""Latent rows and columns that the pipeline packs to one token."""


class TransformerConfig(ToldConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 64
    num_layers: Repeats = 19
    num_single_layers: Repeats = 38
    attention_head_dim: int = 128
    num_attention_heads: int = 24
    joint_attention_dim: int = 4096
    pooled_projection_dim: int = 768
    guidance_embeds: bool = False


def _key_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those tensors by which weights and config.json may disagree."""
    width = config.width
    return {
        "x_embedder.weight": (width, config.in_channels),
        "context_embedder.weight": (width, config.joint_attention_dim),
        **config.key_shapes,
    }


FLUX = PipelineKind(
    name="FLUX.1",
    pipeline="FluxPipeline",
    parts={
        "transformer": ("FluxTransformer2DModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("T5EncoderModel",),
        "tokenizer": (),
        "tokenizer_2": (),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    },
    # T5's first: it has the tokens of a caption, CLIP's the one vector.
    text_parts=("tokenizer_2", "text_encoder_2", "tokenizer", "text_encoder"),
    supported="Supported is FLUX.1 text to image (dev, schnell), as FluxPipeline",
    example="black-forest-labs/FLUX.1-dev",
    others={
        "FluxFillPipeline": "a FLUX.1 Fill, which paints into pictures",
        "FluxKontextPipeline": "a FLUX.1 Kontext, which changes pictures",
        "FluxControlPipeline": "a FLUX.1 of depth or edges",
        "FluxControlNetPipeline": "a FLUX.1 with a ControlNet",
        "FluxPriorReduxPipeline": "a FLUX.1 Redux",
        "Flux2Pipeline": "a FLUX.2 dev, whose text encoder and tokenizer are a Mistral's for pictures",
    },
    key_shapes={"transformer": shapes_of(TransformerConfig, _key_shapes)},
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported FLUX.1, naming what it is."""
    folder = open_folder(path, FLUX)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(PictureVaeConfig, "vae")
    t5, clip = folder.config(T5Config, "text_encoder_2"), folder.config(ClipConfig, "text_encoder")
    folder.refuse_mismatch(
        "transformer", transformer.in_channels, "VAE", vae.latent_channels * PATCH**2, "channels a token"
    )
    folder.refuse_mismatch("transformer", transformer.joint_attention_dim, "T5", t5.d_model, "features of text")
    folder.refuse_mismatch(
        "transformer", transformer.pooled_projection_dim, "CLIP", clip.hidden_size, "pooled features"
    )
    return DiffusersFacts(
        **common_facts(folder, text_length=TEXT_LENGTH, told_guidance=transformer.told(PUBLISHED_GUIDANCE)),
        summary=folder.described(f"FLUX.1, {transformer.described}"),
        latent_space=vae.latent_space,
        text_width=transformer.joint_attention_dim,
        patch=(1, PATCH, PATCH),
        max_positions=(1, UNBOUNDED, UNBOUNDED),
        feature_width=transformer.width,
        layers=transformer.all_layers,
        max_frames=1,
        columns=(pooled_column(clip.hidden_size),),
    )
