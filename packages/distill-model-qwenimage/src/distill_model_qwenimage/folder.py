"""A light look at a Qwen-Image pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from distill_core.errors import ModelFolderError
from distill_diffusers.causal_vae import CausalVaeConfig
from distill_diffusers.denoiser_config import DenoiserConfig, shapes_of
from distill_diffusers.facts import DiffusersFacts, common_facts
from distill_diffusers.json_files import Json, Repeats
from distill_diffusers.pipeline_folder import PipelineFolder, PipelineKind, open_folder
from distill_diffusers.tensor_shapes import Shape, repeated

TEXT_LENGTH = 1024
"""The longest caption that the pipeline takes, in tokens."""
PATCH = 2
"""Latent rows and columns that the pipeline packs to one token."""
_POSITIONS = 4096
"""The positions that QwenEmbedRope has."""


class TransformerConfig(DenoiserConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 64
    num_layers: Repeats = 60
    attention_head_dim: int = 128
    num_attention_heads: int = 24
    joint_attention_dim: int = 3584
    guidance_embeds: bool = False
    zero_cond_t: bool = False
    use_additional_t_cond: bool = False
    use_layer3d_rope: bool = False


class TextConfig(Json):
    """What text_encoder/config.json says of the language model."""

    hidden_size: int


class TextEncoderConfig(Json):
    """text_encoder/config.json, as transformers writes it since 4.52, and as it did before."""

    text_config: TextConfig | None = None
    hidden_size: int | None = None


def _key_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those tensors by which weights and config.json may disagree."""
    width = config.width
    return {
        "img_in.weight": (width, config.in_channels),
        "txt_in.weight": (width, config.joint_attention_dim),
        "proj_out.weight": (config.in_channels, width),
        **repeated("transformer_blocks", config.num_layers, {"attn.to_q.weight": (width, width)}),
    }


QWEN_IMAGE = PipelineKind(
    name="Qwen-Image",
    pipeline="QwenImagePipeline",
    parts={
        "transformer": ("QwenImageTransformer2DModel",),
        "vae": ("AutoencoderKLQwenImage",),
        "text_encoder": ("Qwen2_5_VLForConditionalGeneration",),
        "tokenizer": (),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    },
    supported="Supported is Qwen-Image text to image, as QwenImagePipeline",
    example="Qwen/Qwen-Image",
    others={
        "QwenImageEditPipeline": "a Qwen-Image-Edit, which changes pictures",
        "QwenImageEditPlusPipeline": "a Qwen-Image-Edit, which changes pictures",
        "QwenImageLayeredPipeline": "a Qwen-Image-Layered, which takes pictures apart",
        "QwenImageControlNetPipeline": "a Qwen-Image with a ControlNet",
        "QwenImage21Pipeline": "a Qwen-Image 2.1, which has another VAE and another transformer",
    },
    key_shapes={"transformer": shapes_of(TransformerConfig, _key_shapes)},
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported Qwen-Image, naming what it is."""
    folder = open_folder(path, QWEN_IMAGE)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(CausalVaeConfig, "vae")
    _refuse_misfits(folder, transformer, vae)
    return DiffusersFacts(
        **common_facts(folder, text_length=TEXT_LENGTH),
        summary=folder.described(f"Qwen-Image, {transformer.num_layers} layers"),
        latent_space=vae.latent_space,
        text_width=transformer.joint_attention_dim,
        patch=(1, PATCH, PATCH),
        max_positions=(1, _POSITIONS, _POSITIONS),
        feature_width=transformer.width,
        layers=transformer.num_layers,
        max_frames=1,
    )


def _refuse_misfits(folder: PipelineFolder, transformer: TransformerConfig, vae: CausalVaeConfig) -> None:
    for name in ("guidance_embeds", "zero_cond_t", "use_additional_t_cond", "use_layer3d_rope"):
        if getattr(transformer, name):
            raise ModelFolderError(
                f"{folder.path}: its transformer is of another member ({name}), which is not supported. {QWEN_IMAGE.supported}"
            )
    text = folder.config(TextEncoderConfig, "text_encoder")
    width = text.hidden_size if text.text_config is None else text.text_config.hidden_size
    folder.refuse_mismatch("transformer", transformer.in_channels, "VAE", vae.z_dim * PATCH**2, "channels a token")
    if width is not None:
        folder.refuse_mismatch(
            "transformer", transformer.joint_attention_dim, "text encoder", width, "features of text"
        )
