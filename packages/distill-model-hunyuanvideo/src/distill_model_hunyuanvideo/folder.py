"""A light look at a HunyuanVideo pipeline folder: what it is, and whether distill supports it. Reads JSON; imports no torch."""

from __future__ import annotations

from distill_core.errors import ModelFolderError
from distill_diffusers.clip_text import pooled_column
from distill_diffusers.denoiser_config import UNBOUNDED, shapes_of
from distill_diffusers.facts import DiffusersFacts, common_facts, evenly_scaled
from distill_diffusers.json_files import Json, Repeats
from distill_diffusers.pipeline_folder import PipelineFolder, PipelineKind, open_folder
from distill_diffusers.tensor_shapes import Shape
from distill_diffusers.two_streams import ToldConfig

TEXT_LENGTH = 256
"""The longest caption that HunyuanVideo is published with, in tokens."""
PUBLISHED_GUIDANCE = 6.0
"""The guidance scale that it is told where a call of the pipeline says none."""


class TransformerConfig(ToldConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 16
    num_layers: Repeats = 20
    num_single_layers: Repeats = 40
    attention_head_dim: int = 128
    num_attention_heads: int = 24
    patch_size: int = 2
    patch_size_t: int = 1
    guidance_embeds: bool = True
    text_embed_dim: int = 4096
    pooled_projection_dim: int = 768
    image_condition_type: str | None = None


class VaeConfig(Json):
    """vae/config.json, with diffusers' defaults."""

    latent_channels: int = 16
    scaling_factor: float = 0.476986
    spatial_compression_ratio: int = 8
    temporal_compression_ratio: int = 4


class TextConfig(Json):
    """config.json of Llama, with its default, or of CLIP."""

    hidden_size: int


def _key_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those tensors by which weights and config.json may disagree."""
    width, patch = config.width, config.patch_size
    return {
        "x_embedder.proj.weight": (width, config.in_channels, config.patch_size_t, patch, patch),
        "context_embedder.proj_in.weight": (width, config.text_embed_dim),
        **config.key_shapes,
    }


HUNYUAN = PipelineKind(
    name="HunyuanVideo",
    pipeline="HunyuanVideoPipeline",
    parts={
        "transformer": ("HunyuanVideoTransformer3DModel",),
        "vae": ("AutoencoderKLHunyuanVideo",),
        "text_encoder": ("LlamaModel",),
        "text_encoder_2": ("CLIPTextModel",),
        "tokenizer": (),
        "tokenizer_2": (),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    },
    text_parts=("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"),
    supported="Supported is HunyuanVideo text to video, as HunyuanVideoPipeline",
    example="hunyuanvideo-community/HunyuanVideo",
    others={
        "HunyuanVideoImageToVideoPipeline": "an image-to-video HunyuanVideo",
        "HunyuanSkyreelsImageToVideoPipeline": "a SkyReels, which starts from pictures",
        "HunyuanVideoFramepackPipeline": "a FramePack, which starts from pictures",
        "HunyuanVideo15ImageToVideoPipeline": "an image-to-video HunyuanVideo 1.5",
        "HunyuanDiTPipeline": "a Hunyuan-DiT, which is no flow",
    },
    key_shapes={"transformer": shapes_of(TransformerConfig, _key_shapes)},
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported HunyuanVideo, naming what it is."""
    folder = open_folder(path, HUNYUAN)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(VaeConfig, "vae")
    _refuse_misfits(folder, transformer, vae)
    strides = vae.temporal_compression_ratio, vae.spatial_compression_ratio
    return DiffusersFacts(
        **common_facts(folder, text_length=TEXT_LENGTH, told_guidance=transformer.told(PUBLISHED_GUIDANCE)),
        summary=folder.described(f"HunyuanVideo, {transformer.described}"),
        latent_space=evenly_scaled(vae.latent_channels, *strides, scaling_factor=vae.scaling_factor),
        text_width=transformer.text_embed_dim,
        patch=(transformer.patch_size_t, transformer.patch_size, transformer.patch_size),
        max_positions=(UNBOUNDED,) * 3,
        feature_width=transformer.width,
        layers=transformer.all_layers,
        columns=(pooled_column(transformer.pooled_projection_dim),),
    )


def _refuse_misfits(folder: PipelineFolder, transformer: TransformerConfig, vae: VaeConfig) -> None:
    if transformer.image_condition_type is not None:
        raise ModelFolderError(f"{folder.path}: its transformer starts from pictures. {HUNYUAN.supported}")
    llama, clip = folder.config(TextConfig, "text_encoder"), folder.config(TextConfig, "text_encoder_2")
    folder.refuse_mismatch("transformer", transformer.in_channels, "VAE", vae.latent_channels, "channels")
    folder.refuse_mismatch("transformer", transformer.text_embed_dim, "Llama", llama.hidden_size, "features of text")
    folder.refuse_mismatch(
        "transformer", transformer.pooled_projection_dim, "CLIP", clip.hidden_size, "pooled features"
    )
