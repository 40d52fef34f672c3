"""A light look at an LTX-Video pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from distill_core.plugins import LatentSpace
from distill_diffusers.denoiser_config import UNBOUNDED, DenoiserConfig, shapes_of
from distill_diffusers.facts import DiffusersFacts, common_facts
from distill_diffusers.json_files import Json, Repeats
from distill_diffusers.parameter_count import counted
from distill_diffusers.pipeline_folder import PipelineKind, open_folder
from distill_diffusers.t5_encoder import T5Config, t5_shapes
from distill_diffusers.tensor_shapes import Modules, Shape, flat, linear

TEXT_LENGTH = 128
"""The padded length that LTX-Video is published with."""


class TransformerConfig(DenoiserConfig):
    """transformer/config.json, with diffusers' defaults."""

    in_channels: int = 128
    out_channels: int = 128
    patch_size: int = 1
    patch_size_t: int = 1
    num_attention_heads: int = 32
    attention_head_dim: int = 64
    cross_attention_dim: int = 2048
    num_layers: Repeats = 28
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
    width = config.width

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
    shapes={
        "transformer": shapes_of(TransformerConfig, transformer_shapes),
        "text_encoder": shapes_of(T5Config, t5_shapes),
    },
)


def inspect(path: str) -> DiffusersFacts:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported LTX-Video, naming what it is."""
    folder = open_folder(path, LTX)
    transformer, vae = folder.config(TransformerConfig, "transformer"), folder.config(VaeConfig, "vae")
    text_width = folder.config(T5Config, "text_encoder").d_model
    tokens = vae.latent_channels * transformer.patch_size_t * transformer.patch_size**2
    folder.refuse_mismatch("transformer", transformer.in_channels, "VAE", tokens, "channels a token")
    folder.refuse_mismatch("VAE", tokens, "transformer", transformer.out_channels, "channels a token")
    folder.refuse_mismatch("transformer", transformer.caption_channels, "text encoder", text_width, "features of text")
    return DiffusersFacts(
        **common_facts(folder, text_length=TEXT_LENGTH),
        summary=folder.described(f"LTX-Video, {counted(transformer_shapes(transformer))} parameters"),
        # LTX keeps the statistics of its latents among the VAE's weights.
        latent_space=LatentSpace(
            vae.latent_channels,
            *vae.strides,
            mean=folder.vector("vae", "latents_mean", vae.latent_channels),
            std=tuple(value / vae.scaling_factor for value in folder.vector("vae", "latents_std", vae.latent_channels)),
        ),
        text_width=transformer.caption_channels,
        patch=(transformer.patch_size_t, transformer.patch_size, transformer.patch_size),
        max_positions=(UNBOUNDED,) * 3,
        feature_width=transformer.width,
        layers=transformer.num_layers,
    )
