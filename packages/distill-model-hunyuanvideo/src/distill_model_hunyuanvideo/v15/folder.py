"""A light look at a HunyuanVideo 1.5 pipeline folder: what it is, and whether distill supports it. Reads JSON; imports no torch."""

from __future__ import annotations

from distill_core.errors import ModelFolderError
from distill_core.plugins import Column
from distill_diffusers.denoiser_config import UNBOUNDED, DenoiserConfig, shapes_of
from distill_diffusers.facts import DiffusersFacts, common_facts, evenly_scaled
from distill_diffusers.json_files import Json, Repeats
from distill_diffusers.pipeline_folder import PipelineFolder, PipelineKind, open_folder
from distill_diffusers.t5_encoder import T5Config
from distill_diffusers.tensor_shapes import Shape, repeated

TEXT_LENGTH = 1000
"""The longest caption that the pipeline takes, in tokens of Qwen2.5-VL; no call of it says another."""
GLYPHS = "glyphs"
"""The column of what a caption has between quotation marks, letter by letter, and its name among the tensors of a condition."""


class TransformerConfig(DenoiserConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 65
    out_channels: int = 32
    num_layers: Repeats = 54
    attention_head_dim: int = 128
    num_attention_heads: int = 16
    patch_size: int = 1
    patch_size_t: int = 1
    text_embed_dim: int = 3584
    text_embed_2_dim: int = 1472
    task_type: str = "i2v"
    use_meanflow: bool = False


class VaeConfig(Json):
    """vae/config.json, with diffusers' defaults."""

    latent_channels: int = 32
    scaling_factor: float = 1.03682
    spatial_compression_ratio: int = 16
    temporal_compression_ratio: int = 4


class TextConfig(Json):
    """config.json of Qwen2.5-VL's language model."""

    hidden_size: int


def _key_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those tensors by which weights and config.json may disagree."""
    width, patch = config.width, config.patch_size
    return {
        "x_embedder.proj.weight": (width, config.in_channels, config.patch_size_t, patch, patch),
        "context_embedder.proj_in.weight": (width, config.text_embed_dim),
        "context_embedder_2.norm.weight": (config.text_embed_2_dim,),
        "proj_out.weight": (config.patch_size_t * patch**2 * config.out_channels, width),
        **repeated("transformer_blocks", config.num_layers, {"attn.to_q.weight": (width, width)}),
    }


HUNYUAN_15 = PipelineKind(
    name="HunyuanVideo 1.5",
    pipeline="HunyuanVideo15Pipeline",
    parts={
        "transformer": ("HunyuanVideo15Transformer3DModel",),
        "vae": ("AutoencoderKLHunyuanVideo15",),
        "text_encoder": ("Qwen2_5_VLTextModel",),
        "text_encoder_2": ("T5EncoderModel",),
        "tokenizer": (),
        "tokenizer_2": (),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
        "guider": ("ClassifierFreeGuidance",),
    },
    text_parts=("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"),
    supported="Supported is HunyuanVideo 1.5 text to video, as HunyuanVideo15Pipeline",
    example="hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v",
    others={
        "HunyuanVideo15ImageToVideoPipeline": "an image-to-video HunyuanVideo 1.5",
    },
    key_shapes={"transformer": shapes_of(TransformerConfig, _key_shapes)},
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported HunyuanVideo 1.5, naming what it is."""
    folder = open_folder(path, HUNYUAN_15)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(VaeConfig, "vae")
    _refuse_misfits(folder, transformer, vae)
    strides = vae.temporal_compression_ratio, vae.spatial_compression_ratio
    return DiffusersFacts(
        **common_facts(folder, text_length=TEXT_LENGTH),
        summary=folder.described(f"HunyuanVideo 1.5, {transformer.num_layers} layers"),
        latent_space=evenly_scaled(vae.latent_channels, *strides, scaling_factor=vae.scaling_factor),
        text_width=transformer.text_embed_dim,
        patch=(transformer.patch_size_t, transformer.patch_size, transformer.patch_size),
        max_positions=(UNBOUNDED,) * 3,
        feature_width=transformer.width,
        layers=transformer.num_layers,
        columns=(
            Column(
                GLYPHS,
                ("L", transformer.text_embed_2_dim),
                "what the caption has between quotation marks, by ByT5",
                "distill data encode",
                of_caption=True,
            ),
        ),
    )


def _refuse_misfits(folder: PipelineFolder, transformer: TransformerConfig, vae: VaeConfig) -> None:
    another = f"which is not supported. {HUNYUAN_15.supported}"
    if transformer.use_meanflow:
        raise ModelFolderError(f"{folder.path}: its transformer is told two timesteps (use_meanflow), {another}")
    if transformer.task_type != "t2v":
        raise ModelFolderError(f"{folder.path}: its transformer is made for {transformer.task_type}, {another}")
    qwen, byt5 = folder.config(TextConfig, "text_encoder"), folder.config(T5Config, "text_encoder_2")
    # Latents, those of a picture, and a channel that says where there is one.
    folder.refuse_mismatch("transformer", transformer.in_channels, "VAE", 2 * vae.latent_channels + 1, "channels")
    folder.refuse_mismatch(
        "transformer", transformer.text_embed_dim, "Qwen2.5-VL", qwen.hidden_size, "features of text"
    )
    folder.refuse_mismatch("transformer", transformer.text_embed_2_dim, "ByT5", byt5.d_model, "features of letters")
