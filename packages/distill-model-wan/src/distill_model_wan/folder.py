"""A light look at a Wan pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_core.plugins import ModelFacts
from distill_diffusers.export_record import RECORD
from distill_diffusers.facts import DiffusersFacts, common_facts
from distill_diffusers.json_files import INDEX, read
from distill_diffusers.parameter_count import billions
from distill_diffusers.pipeline_folder import PipelineFolder, PipelineKind, open_folder
from distill_diffusers.t5_encoder import UMT5Config, t5_shapes
from distill_diffusers.tensor_shapes import Shape
from distill_model_wan.pipeline_json import TransformerConfig, VaeConfig, WanSettings
from distill_model_wan.tensor_shapes import transformer_shapes, vae_shapes
from distill_model_wan.vsa import CUBE

TEXT_LENGTH = 512
"""The padded length that every published Wan was trained with."""


def _transformer(part: Path) -> dict[str, Shape]:
    return transformer_shapes(read(TransformerConfig, part / "config.json"))


def _vae(part: Path) -> dict[str, Shape]:
    return vae_shapes(read(VaeConfig, part / "config.json"))


def _text_encoder(part: Path) -> dict[str, Shape]:
    return t5_shapes(read(UMT5Config, part / "config.json"))


WAN = PipelineKind(
    name="Wan",
    pipeline="WanPipeline",
    parts={
        "transformer": ("WanTransformer3DModel",),
        "transformer_2": ("WanTransformer3DModel",),
        "vae": ("AutoencoderKLWan",),
        "text_encoder": ("UMT5EncoderModel",),
        "tokenizer": (),
        "scheduler": (),
    },
    supported=(
        "Supported are Wan 2.1 T2V (1.3B, 14B), Wan 2.2 T2V-A14B and Wan 2.2 TI2V-5B as text-to-video, all as WanPipeline"
    ),
    example="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    optional=frozenset({"transformer_2"}),
    experts=("transformer", "transformer_2"),
    others={
        "WanImageToVideoPipeline": "an image-to-video Wan",
        "WanVideoToVideoPipeline": "a video-to-video Wan",
        "WanVACEPipeline": "a Wan VACE (video editing)",
        "WanAnimatePipeline": "a Wan Animate",
        "SkyReelsV2Pipeline": "a SkyReels V2",
        "SkyReelsV2ImageToVideoPipeline": "a SkyReels V2",
        "SkyReelsV2DiffusionForcingPipeline": "a SkyReels V2",
    },
    originals={"models_t5_umt5-xxl-enc-bf16.pth": "Wan's original release"},
    shapes={"transformer": _transformer, "transformer_2": _transformer, "vae": _vae, "text_encoder": _text_encoder},
)


@dataclass(frozen=True, kw_only=True)
class WanFolder(DiffusersFacts):
    """The facts of a Wan folder.

    Attributes:
        expand_timesteps: whether the transformer takes a timestep per token (TI2V).
    """

    expand_timesteps: bool = False


def wan_folder(facts: ModelFacts) -> WanFolder:
    """Facts of this family's own kind."""
    assert isinstance(facts, WanFolder), f"expected the facts of a Wan folder, got {type(facts).__name__}"
    return facts


def inspect(path: str) -> WanFolder:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported Wan, naming what it is."""
    folder = open_folder(path, WAN)
    settings = folder.settings(WanSettings)
    _refuse_half_experts(folder, settings)
    configs = [folder.config(TransformerConfig, name) for name in folder.experts]
    vae = folder.config(VaeConfig, "vae")
    _refuse_unsupported(folder.path, configs, vae, folder.config(UMT5Config, "text_encoder"))
    _refuse_other_cubes(folder)
    first = configs[0]
    return WanFolder(
        **common_facts(folder, text_length=TEXT_LENGTH),
        summary=_summary(settings, configs),
        latent_space=vae.latent_space,
        text_width=first.text_dim,
        patch=first.patch_size,
        max_positions=(first.rope_max_seq_len,) * 3,
        feature_width=first.num_attention_heads * first.attention_head_dim,
        layers=first.num_layers,
        boundary=None if settings.boundary_ratio is None else 1000.0 * settings.boundary_ratio,
        expand_timesteps=settings.expand_timesteps,
    )


def _refuse_half_experts(folder: PipelineFolder, settings: WanSettings) -> None:
    if len(folder.experts) == 1 and settings.boundary_ratio is not None:
        raise ModelFolderError(f"{folder.path} has a boundary_ratio but no transformer_2 for the timesteps below it")
    if len(folder.experts) == 2 and settings.boundary_ratio is None:
        raise ModelFolderError(
            f"{folder.path} has a transformer_2 but no boundary_ratio in {INDEX} that says when it denoises"
        )


def _refuse_unsupported(
    folder: Path, configs: Sequence[TransformerConfig], vae: VaeConfig, text_encoder: UMT5Config
) -> None:
    for config in configs:
        if config.image_dim is not None or config.added_kv_proj_dim is not None or config.in_channels == 36:
            raise ModelFolderError(
                f"{folder} is an image-to-video Wan (its transformer takes an image). {WAN.supported}"
            )
        if config.in_channels != vae.z_dim or config.out_channels != vae.z_dim:
            raise ModelFolderError(
                f"{folder}: its transformer takes {config.in_channels} channels and gives {config.out_channels}, "
                f"its VAE has {vae.z_dim}; they belong to different models"
            )
        if config.text_dim != text_encoder.d_model:
            raise ModelFolderError(
                f"{folder}: its transformer takes text of {config.text_dim} features, its text encoder gives "
                f"{text_encoder.d_model}; they belong to different models"
            )
    for name, values in (("latents_mean", vae.latents_mean), ("latents_std", vae.latents_std)):
        if len(values) != vae.z_dim:
            raise ModelFolderError(f"{folder}/vae/config.json: {name} has {len(values)} values for z_dim {vae.z_dim}")


def _refuse_other_cubes(folder: PipelineFolder) -> None:
    sampling = folder.record.sampling
    if sampling is not None and sampling.vsa is not None and sampling.vsa.cube != CUBE:
        raise ModelFolderError(
            f"{folder.path / RECORD}: the model was trained with sparse attention in cubes of {sampling.vsa.cube}, and this version "
            f"has those of {CUBE} alone"
        )


def _summary(settings: WanSettings, configs: Sequence[TransformerConfig]) -> str:
    size = billions(sum(prod(shape) for shape in transformer_shapes(configs[0]).values()))
    if len(configs) == 2:
        return f"Wan 2.2 T2V with two experts, 2 × {size} parameters"
    if settings.expand_timesteps:
        return f"Wan 2.2 TI2V as text-to-video, {size} parameters"
    return f"Wan 2.1 T2V, {size} parameters"
