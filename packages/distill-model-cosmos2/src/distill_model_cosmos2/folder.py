"""A light look at a Cosmos-Predict2 pipeline folder: what it is, and whether distill supports it. Reads JSON; imports no torch."""

from __future__ import annotations

from distill_diffusers.causal_vae import CausalVaeConfig, causal_vae_shapes
from distill_diffusers.denoiser_config import DenoiserConfig, shapes_of
from distill_diffusers.facts import DiffusersFacts, common_facts
from distill_diffusers.json_files import Repeats
from distill_diffusers.pipeline_folder import PipelineKind, open_folder
from distill_diffusers.t5_encoder import T5Config
from distill_diffusers.tensor_shapes import Shape, repeated

TEXT_LENGTH = 512
"""The padded length that Cosmos-Predict2 is published with."""
NOISE_MOST, NOISE_LEAST = 80.0, 0.002
"""The pipeline's own greatest and least noise s; a flow's σ is s / (1 + s)."""
_RHO = 7.0


def middle_shift() -> float:
    """The flow shift that spreads timesteps most alike: it takes 500 to where the middle of the pipeline's own spacing lies."""
    return float(((NOISE_MOST ** (1 / _RHO) + NOISE_LEAST ** (1 / _RHO)) / 2.0) ** _RHO)


class TransformerConfig(DenoiserConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 16
    num_layers: Repeats = 28
    attention_head_dim: int = 128
    num_attention_heads: int = 32
    text_embed_dim: int = 1024
    max_size: tuple[int, int, int] = (128, 240, 240)
    patch_size: tuple[int, int, int] = (1, 2, 2)


def _key_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those tensors by which weights and config.json may disagree."""
    width, text = config.width, config.text_embed_dim
    of_a_block = {"attn1.to_q.weight": (width, width), "attn2.to_k.weight": (width, text)}
    return repeated("transformer_blocks", config.num_layers, of_a_block)


COSMOS2 = PipelineKind(
    name="Cosmos-Predict2",
    pipeline="Cosmos2TextToImagePipeline",
    parts={
        "transformer": ("CosmosTransformer3DModel",),
        "vae": ("AutoencoderKLWan",),
        "text_encoder": ("T5EncoderModel",),
        "tokenizer": (),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    },
    supported="Supported is Cosmos-Predict2 text to image, as Cosmos2TextToImagePipeline",
    example="nvidia/Cosmos-Predict2-2B-Text2Image",
    others={
        "Cosmos2VideoToWorldPipeline": "a Cosmos-Predict2 that starts from a picture or a video",
        "Cosmos2_5_PredictBasePipeline": "a Cosmos-Predict2.5, which has another text encoder and starts from pictures",
        "CosmosTextToWorldPipeline": "a Cosmos 1, which has another VAE",
        "CosmosVideoToWorldPipeline": "a Cosmos 1 that starts from a video",
    },
    shapes={"vae": shapes_of(CausalVaeConfig, causal_vae_shapes)},
    key_shapes={"transformer": shapes_of(TransformerConfig, _key_shapes)},
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported Cosmos-Predict2, naming what it is."""
    folder = open_folder(path, COSMOS2)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(CausalVaeConfig, "vae")
    t5 = folder.config(T5Config, "text_encoder")
    folder.refuse_mismatch("transformer", transformer.in_channels, "VAE", vae.z_dim, "channels")
    folder.refuse_mismatch("transformer", transformer.text_embed_dim, "text encoder", t5.d_model, "features of text")
    frames, rows, columns = (most // by for most, by in zip(transformer.max_size, transformer.patch_size, strict=True))
    return DiffusersFacts(
        **common_facts(folder, text_length=TEXT_LENGTH, flow_shift=middle_shift()),
        summary=folder.described(f"Cosmos-Predict2, {transformer.num_layers} layers"),
        latent_space=vae.latent_space,
        text_width=transformer.text_embed_dim,
        patch=transformer.patch_size,
        max_positions=(frames, rows, columns),
        feature_width=transformer.width,
        layers=transformer.num_layers,
        max_frames=1,
    )
