"""A light look at an LTX-Video pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from math import prod
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_core.plugins import LatentSpace
from distill_diffusers.facts import DiffusersFacts, common_facts
from distill_diffusers.json_files import Json, read
from distill_diffusers.parameter_count import billions
from distill_diffusers.pipeline_folder import PipelineFolder, PipelineKind, open_folder
from distill_diffusers.t5_encoder import T5Config, t5_shapes
from distill_diffusers.tensor_shapes import Modules, Shape, flat, linear

TEXT_LENGTH = 128
"""The padded length that LTX-Video is published with."""

_POSITIONS = 1_000_000
"""Positions are turned, not looked up: there are as many as anyone has memory for."""


class TransformerConfig(Json):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 128
    out_channels: int = 128
    patch_size: int = 1
    patch_size_t: int = 1
    num_attention_heads: int = 32
    attention_head_dim: int = 64
    cross_attention_dim: int = 2048
    num_layers: int = 28
    caption_channels: int = 4096


class VaeConfig(Json):
    """vae/config.json, with diffusers' defaults."""

    latent_channels: int = 128
    patch_size: int = 4
    patch_size_t: int = 1
    spatio_temporal_scaling: tuple[bool, ...] = (True, True, True, False)
    scaling_factor: float = 1.0
    timestep_conditioning: bool = False
    spatial_compression_ratio: int | None = None
    temporal_compression_ratio: int | None = None

    @property
    def strides(self) -> tuple[int, int]:
        """Pixel frames per latent frame, and pixels per latent row."""
        halvings = 2 ** sum(self.spatio_temporal_scaling)
        temporal, spatial = self.temporal_compression_ratio, self.spatial_compression_ratio
        return (
            self.patch_size_t * halvings if temporal is None else temporal,
            self.patch_size * halvings if spatial is None else spatial,
        )


def transformer_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """The tensors of an LTXVideoTransformer3DModel."""
    width = config.num_attention_heads * config.attention_head_dim

    def attention(source: int) -> Modules:
        """The layers of attention to tokens of ``source`` features."""
        norms: Modules = {name: {"weight": (width,)} for name in ("norm_q", "norm_k")}
        layers = {"to_q": width, "to_k": source, "to_v": source, "to_out.0": width}
        return {**norms, **{name: linear(inputs, width) for name, inputs in layers.items()}}

    block: Modules = {
        "scale_shift_table": (6, width),
        "attn1": attention(width),
        "attn2": attention(config.cross_attention_dim),
        "ff.net.0.proj": linear(width, 4 * width),
        "ff.net.2": linear(4 * width, width),
    }
    return flat(
        {
            "scale_shift_table": (2, width),
            "proj_in": linear(config.in_channels, width),
            "time_embed.emb.timestep_embedder": {"linear_1": linear(256, width), "linear_2": linear(width, width)},
            "time_embed.linear": linear(width, 6 * width),
            "caption_projection": {
                "linear_1": linear(config.caption_channels, width),
                "linear_2": linear(width, width),
            },
            "transformer_blocks": {str(number): block for number in range(config.num_layers)},
            "proj_out": linear(width, config.out_channels),
        }
    )


def _transformer(part: Path) -> dict[str, Shape]:
    return transformer_shapes(read(TransformerConfig, part / "config.json"))


def _text_encoder(part: Path) -> dict[str, Shape]:
    return t5_shapes(read(T5Config, part / "config.json"))


LTX = PipelineKind(
    name="LTX-Video",
    pipeline="LTXPipeline",
    parts={
        "transformer": ("LTXVideoTransformer3DModel",),
        "vae": ("AutoencoderKLLTXVideo",),
        "text_encoder": ("T5EncoderModel",),
        "tokenizer": (),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    },
    supported="Supported is LTX-Video text to video, as LTXPipeline",
    example="Lightricks/LTX-Video",
    others={
        "LTXImageToVideoPipeline": "an image-to-video LTX",
        "LTXConditionPipeline": "an LTX with conditions",
        "LTXI2VLongMultiPromptPipeline": "an LTX of several prompts",
        "LTXLatentUpsamplePipeline": "an upsampler of LTX's latents",
        "LTX2Pipeline": "an LTX-2, which makes sound besides",
    },
    shapes={"transformer": _transformer, "text_encoder": _text_encoder},
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported LTX-Video, naming what it is."""
    folder = open_folder(path, LTX)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(VaeConfig, "vae")
    _refuse_mismatch(folder, transformer, vae)
    return DiffusersFacts(
        **common_facts(folder, text_length=TEXT_LENGTH),
        summary=folder.described(
            f"LTX-Video, {billions(sum(map(prod, transformer_shapes(transformer).values())))} parameters"
        ),
        latent_space=_latent_space(folder, vae),
        text_width=transformer.caption_channels,
        patch=(transformer.patch_size_t, transformer.patch_size, transformer.patch_size),
        max_positions=(_POSITIONS,) * 3,
        feature_width=transformer.num_attention_heads * transformer.attention_head_dim,
        layers=transformer.num_layers,
    )


def _refuse_mismatch(folder: PipelineFolder, transformer: TransformerConfig, vae: VaeConfig) -> None:
    tokens = vae.latent_channels * transformer.patch_size_t * transformer.patch_size**2
    if (transformer.in_channels, transformer.out_channels) != (tokens, tokens):
        raise ModelFolderError(
            f"{folder.path}: its transformer takes {transformer.in_channels} channels and gives {transformer.out_channels}, its VAE's "
            f"latents make {tokens}; they belong to different models"
        )
    width = folder.config(T5Config, "text_encoder").d_model
    if transformer.caption_channels != width:
        raise ModelFolderError(
            f"{folder.path}: its transformer takes text of {transformer.caption_channels} features, its text encoder gives {width}; "
            "they belong to different models"
        )


def _latent_space(folder: PipelineFolder, vae: VaeConfig) -> LatentSpace:
    """LTX keeps the statistics of its latents among the VAE's weights."""
    temporal, spatial = vae.strides
    return LatentSpace(
        channels=vae.latent_channels,
        temporal_stride=temporal,
        spatial_stride=spatial,
        mean=folder.vector("vae", "latents_mean", vae.latent_channels),
        std=tuple(value / vae.scaling_factor for value in folder.vector("vae", "latents_std", vae.latent_channels)),
    )
