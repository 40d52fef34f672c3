"""A light look at a Sana pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from distill_core.errors import ModelFolderError
from distill_diffusers.denoiser_config import UNBOUNDED, DenoiserConfig, shapes_of
from distill_diffusers.facts import DiffusersFacts, common_facts, evenly_scaled
from distill_diffusers.json_files import Json, Repeats
from distill_diffusers.pipeline_folder import PipelineKind, open_folder
from distill_diffusers.tensor_shapes import Shape, repeated

TEXT_LENGTH = 300
"""The longest caption that the pipeline takes, in tokens."""


class TransformerConfig(DenoiserConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 32
    out_channels: int | None = 32
    patch_size: int = 1
    num_layers: Repeats = 20
    attention_head_dim: int = 32
    num_attention_heads: int = 70
    caption_channels: int = 2304
    guidance_embeds: bool = False


class VaeConfig(Json):
    """vae/config.json, with diffusers' defaults."""

    latent_channels: int = 32
    encoder_block_out_channels: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024)
    scaling_factor: float = 1.0


class GemmaConfig(Json):
    """text_encoder/config.json."""

    hidden_size: int = 2304


def _key_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those tensors by which weights and config.json may disagree."""
    width, patch = config.width, config.patch_size
    return {
        "patch_embed.proj.weight": (width, config.in_channels, patch, patch),
        "caption_projection.linear_1.weight": (width, config.caption_channels),
        **repeated("transformer_blocks", config.num_layers, {"attn1.to_q.weight": (width, width)}),
    }


SANA = PipelineKind(
    name="Sana",
    pipeline="SanaPipeline",
    parts={
        "transformer": ("SanaTransformer2DModel",),
        "vae": ("AutoencoderDC",),
        "text_encoder": ("Gemma2Model", "Gemma2ForCausalLM"),
        "tokenizer": (),
        "scheduler": ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"),
    },
    supported="Supported are Sana and Sana 1.5 text to image, as SanaPipeline",
    example="Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers",
    others={
        "SanaSprintPipeline": "a Sana-Sprint, which is distilled already and is no flow",
        "SanaControlNetPipeline": "a Sana with a ControlNet",
        "SanaPAGPipeline": "a Sana with perturbed attention",
        "SanaVideoPipeline": "a Sana-Video, which has another transformer and another VAE",
    },
    key_shapes={"transformer": shapes_of(TransformerConfig, _key_shapes)},
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported Sana, naming what it is."""
    folder = open_folder(path, SANA)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(VaeConfig, "vae")
    if transformer.guidance_embeds:
        raise ModelFolderError(
            f"{folder.path}: its transformer is told a guidance scale, as a Sana-Sprint's. {SANA.supported}"
        )
    gemma = folder.config(GemmaConfig, "text_encoder")
    folder.refuse_mismatch("transformer", transformer.in_channels, "VAE", vae.latent_channels, "channels")
    folder.refuse_mismatch(
        "transformer", transformer.caption_channels, "text encoder", gemma.hidden_size, "features of text"
    )
    stride = 2 ** (len(vae.encoder_block_out_channels) - 1)
    return DiffusersFacts(
        **common_facts(folder, text_length=TEXT_LENGTH),
        summary=folder.described(f"Sana, {transformer.num_layers} layers"),
        latent_space=evenly_scaled(vae.latent_channels, 1, stride, scaling_factor=vae.scaling_factor),
        text_width=transformer.caption_channels,
        patch=(1, transformer.patch_size, transformer.patch_size),
        max_positions=(1, UNBOUNDED, UNBOUNDED),
        feature_width=transformer.width,
        layers=transformer.num_layers,
        max_frames=1,
    )
