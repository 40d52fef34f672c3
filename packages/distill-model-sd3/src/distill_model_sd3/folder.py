"""A light look at a Stable Diffusion 3 pipeline folder: what it is, and whether distill supports it. Reads JSON; imports no torch."""

from __future__ import annotations

from distill_core.errors import ModelFolderError
from distill_diffusers.clip_text import ClipConfig, pooled_column
from distill_diffusers.denoiser_config import DenoiserConfig, shapes_of
from distill_diffusers.facts import DiffusersFacts, common_facts
from distill_diffusers.json_files import Repeats
from distill_diffusers.picture_vae import PictureVaeConfig
from distill_diffusers.pipeline_folder import PipelineFolder, PipelineKind, open_folder
from distill_diffusers.t5_encoder import T5Config
from distill_diffusers.tensor_shapes import Shape, repeated

CLIP_LENGTH = 77
"""Tokens of the two CLIPs, which stand before T5's."""
T5_LENGTH = 256
"""T5's padded length that Stable Diffusion 3 is published with."""


class TransformerConfig(DenoiserConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 16
    patch_size: int = 2
    num_layers: Repeats = 18
    attention_head_dim: int = 64
    num_attention_heads: int = 18
    joint_attention_dim: int = 4096
    caption_projection_dim: int = 1152
    pooled_projection_dim: int = 2048
    pos_embed_max_size: int = 96


def _key_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those tensors by which weights and config.json may disagree."""
    width, patch = config.width, config.patch_size
    return {
        "pos_embed.proj.weight": (width, config.in_channels, patch, patch),
        "context_embedder.weight": (config.caption_projection_dim, config.joint_attention_dim),
        "time_text_embed.text_embedder.linear_1.weight": (width, config.pooled_projection_dim),
        **repeated("transformer_blocks", config.num_layers, {"attn.to_q.weight": (width, width)}),
    }


SD3 = PipelineKind(
    name="Stable Diffusion 3",
    pipeline="StableDiffusion3Pipeline",
    parts={
        "transformer": ("SD3Transformer2DModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModelWithProjection",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "text_encoder_3": ("T5EncoderModel",),
        "tokenizer": (),
        "tokenizer_2": (),
        "tokenizer_3": (),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    },
    # T5's first: its tokens are those that a caption may have too many of.
    text_parts=("tokenizer_3", "text_encoder_3", "tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"),
    supported="Supported are Stable Diffusion 3 and 3.5 text to image with all three text encoders, as StableDiffusion3Pipeline",
    example="stabilityai/stable-diffusion-3.5-medium",
    others={
        "StableDiffusion3ControlNetPipeline": "a Stable Diffusion 3 with a ControlNet",
        "StableDiffusion3Img2ImgPipeline": "a Stable Diffusion 3 that starts from pictures",
        "StableDiffusion3InpaintPipeline": "a Stable Diffusion 3 that paints into pictures",
        "StableDiffusionXLPipeline": "a Stable Diffusion XL, which is no flow",
        "StableDiffusionPipeline": "a Stable Diffusion of before 3, which is no flow",
    },
    key_shapes={"transformer": shapes_of(TransformerConfig, _key_shapes)},
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported SD3, naming what it is."""
    folder = open_folder(path, SD3)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(PictureVaeConfig, "vae")
    _refuse_misfits(folder, transformer, vae)
    positions = transformer.pos_embed_max_size
    return DiffusersFacts(
        **common_facts(folder, text_length=CLIP_LENGTH + T5_LENGTH),
        summary=folder.described(f"Stable Diffusion 3, {transformer.num_layers} layers"),
        latent_space=vae.latent_space,
        text_width=transformer.joint_attention_dim,
        patch=(1, transformer.patch_size, transformer.patch_size),
        max_positions=(1, positions, positions),
        feature_width=transformer.width,
        layers=transformer.num_layers,
        max_frames=1,
        columns=(pooled_column(transformer.pooled_projection_dim, "both CLIPs"),),
    )


def _refuse_misfits(folder: PipelineFolder, transformer: TransformerConfig, vae: PictureVaeConfig) -> None:
    clips = [folder.config(ClipConfig, part).projection_dim for part in ("text_encoder", "text_encoder_2")]
    t5 = folder.config(T5Config, "text_encoder_3")
    folder.refuse_mismatch("transformer", transformer.in_channels, "VAE", vae.latent_channels, "channels")
    folder.refuse_mismatch("transformer", transformer.joint_attention_dim, "T5", t5.d_model, "features of text")
    folder.refuse_mismatch("transformer", transformer.pooled_projection_dim, "two CLIPs", sum(clips), "pooled features")
    length = folder.record.text_length
    if length is not None and length <= CLIP_LENGTH:
        raise ModelFolderError(
            f"{folder.path} records a text length of {length}, of which CLIP alone takes {CLIP_LENGTH}"
        )
