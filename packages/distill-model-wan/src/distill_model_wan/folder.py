"""A light look at a Wan pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from distill_core.errors import ModelFolderError
from distill_core.plugins import Column, ModelFacts
from distill_core.protocols.adapter import PICTURES
from distill_diffusers.causal_vae import causal_vae_shapes
from distill_diffusers.denoiser_config import shapes_of
from distill_diffusers.export_record import RECORD
from distill_diffusers.facts import DiffusersFacts, common_facts
from distill_diffusers.json_files import INDEX
from distill_diffusers.parameter_count import counted
from distill_diffusers.pipeline_folder import PipelineFolder, PipelineKind, open_folder
from distill_diffusers.sparse import CUBE
from distill_diffusers.t5_encoder import UMT5Config, t5_shapes
from distill_model_wan.pipeline_json import ImageEncoderConfig, TransformerConfig, VaeConfig, WanSettings
from distill_model_wan.tensor_shapes import transformer_shapes

IMAGE_TO_VIDEO = "WanImageToVideoPipeline"
LATENT, FEATURES = "picture_latent", "picture_features"
"""The columns of data for image-to-video: what :mod:`distill_model_wan.pictures` makes of the pictures."""

MASK_CHANNELS = 4
"""Of the mask of given frames: as many as a latent frame stands for frames."""

TEXT_LENGTH = 512
"""The padded length that every published Wan was trained with."""


def _stranger(config: Mapping[str, Any]) -> str | None:
    """The members that have Wan's class, in the names of Wan's own release or diffusers', and take more than it: by their channels."""
    names = ("in_dim", "out_dim") if "in_dim" in config else ("in_channels", "out_channels")
    taken, given = (config.get(name) for name in names)
    if config.get("model_type") == "s2v":
        return "a Wan S2V (speech to video)"
    if config.get("add_control_adapter"):
        return "a Wan Fun Camera, which is shown how a camera moves"
    if not isinstance(taken, int) or not isinstance(given, int) or taken in (given, 2 * given + MASK_CHANNELS):
        return None
    return f"a Wan Fun Control, or another Wan that is shown more than pictures: its transformer takes {taken} channels and makes {given}"


WAN = PipelineKind(
    name="Wan",
    pipeline="WanPipeline",
    parts={
        "transformer": ("WanTransformer3DModel",),
        "transformer_2": ("WanTransformer3DModel",),
        "vae": ("AutoencoderKLWan",),
        "text_encoder": ("UMT5EncoderModel",),
        "tokenizer": (),
        "image_encoder": ("CLIPVisionModel", "CLIPVisionModelWithProjection"),
        "image_processor": (),
        "scheduler": (),
    },
    supported=(
        "Supported are Wan 2.1 T2V (1.3B, 14B), Wan 2.2 T2V-A14B and TI2V-5B as WanPipeline, and Wan 2.1 I2V and FLF2V, Wan 2.2 I2V-A14B "
        "and TI2V-5B as WanImageToVideoPipeline"
    ),
    example="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    optional=frozenset({"transformer_2", "image_encoder", "image_processor"}),
    experts=("transformer", "transformer_2"),
    also=(IMAGE_TO_VIDEO,),
    others={
        "WanVideoToVideoPipeline": "a video-to-video Wan",
        **dict.fromkeys(("WanVACEPipeline", "WanVACETransformer3DModel", "VaceWanModel"), "a Wan VACE (video editing)"),
        **dict.fromkeys(("WanAnimatePipeline", "WanAnimateTransformer3DModel", "WanAnimateModel"), "a Wan Animate"),
        "WanModel_S2V": "a Wan S2V (speech to video)",
        **dict.fromkeys(
            (
                "SkyReelsV2Pipeline",
                "SkyReelsV2ImageToVideoPipeline",
                "SkyReelsV2DiffusionForcingPipeline",
                "SkyReelsV2Transformer3DModel",
            ),
            "a SkyReels V2",
        ),
    },
    stranger=_stranger,
    originals={"models_t5_umt5-xxl-enc-bf16.pth": "Wan's original release"},
    shapes={
        **dict.fromkeys(("transformer", "transformer_2"), shapes_of(TransformerConfig, transformer_shapes)),
        "vae": shapes_of(VaeConfig, causal_vae_shapes),
        "text_encoder": shapes_of(UMT5Config, t5_shapes),
    },
    further=(".to_gate_compress.",),
)


@dataclass(frozen=True, kw_only=True)
class WanFolder(DiffusersFacts):
    """The facts of a Wan folder.

    Attributes:
        expand_timesteps: whether the transformer takes a timestep per token (TI2V).
        image_tokens: features of a picture that the transformer attends; 0 where it attends none.
    """

    expand_timesteps: bool = False
    image_tokens: int = 0


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
    _refuse_unsupported(folder, configs, vae, settings, folder.config(UMT5Config, "text_encoder"))
    _refuse_other_cubes(folder)
    first = configs[0]
    pictures = _pictures(folder, first)
    image = folder.config(ImageEncoderConfig, "image_encoder") if first.image_dim is not None else None
    return WanFolder(
        **common_facts(folder, text_length=TEXT_LENGTH),
        summary=folder.described(_summary(settings, configs, pictures)),
        latent_space=vae.latent_space,
        text_width=first.text_dim,
        patch=first.patch_size,
        max_positions=(first.rope_max_seq_len,) * 3,
        feature_width=first.width,
        layers=first.num_layers,
        heads=gcd(*(config.num_attention_heads for config in configs)),
        boundary=None if settings.boundary_ratio is None else 1000.0 * settings.boundary_ratio,
        expand_timesteps=settings.expand_timesteps,
        pictures=pictures,
        lacks=frozenset({"blocks", "clean", "stream"}) if pictures else frozenset(PICTURES),
        columns=_columns(pictures, settings, image),
        image_tokens=0 if image is None else image.tokens,
    )


def _pictures(folder: PipelineFolder, config: TransformerConfig) -> tuple[str, ...]:
    """What a member is shown besides a caption: nothing, the first frame, or the first and the last."""
    if folder.pipeline != IMAGE_TO_VIDEO:
        return ()
    return PICTURES if config.pos_embed_seq_len is not None else PICTURES[:1]


def _columns(pictures: tuple[str, ...], settings: WanSettings, image: ImageEncoderConfig | None) -> tuple[Column, ...]:
    """What data hold of the pictures. A video that is grey after its first frame may be cut as the clip is, one that has a last may not."""
    if not pictures:
        return ()
    frames: str | int = 1 if settings.expand_timesteps else "T" if len(pictures) == 1 else "N"
    made_by = "run `distill data encode` on the videos again, for this model"
    columns = [Column(LATENT, ("C", frames, "H", "W"), "the first frame (and last) through the VAE", made_by)]
    if image is not None:
        shape = (len(pictures) * image.tokens, image.hidden_size)
        columns.append(Column(FEATURES, shape, "the first frame (and last) through CLIP", made_by))
    return tuple(columns)


def _refuse_half_experts(folder: PipelineFolder, settings: WanSettings) -> None:
    if len(folder.experts) == 1 and settings.boundary_ratio is not None:
        raise ModelFolderError(f"{folder.path} has a boundary_ratio but no transformer_2 for the timesteps below it")
    if len(folder.experts) == 2 and settings.boundary_ratio is None:
        raise ModelFolderError(
            f"{folder.path} has a transformer_2 but no boundary_ratio in {INDEX} that says when it denoises"
        )


def _refuse_unsupported(
    found: PipelineFolder,
    configs: Sequence[TransformerConfig],
    vae: VaeConfig,
    settings: WanSettings,
    text_encoder: UMT5Config,
) -> None:
    folder, image = found.path, found.pipeline == IMAGE_TO_VIDEO
    beside = vae.z_dim + vae.scale_factor_temporal if image and not settings.expand_timesteps else 0
    for config in configs:
        if not image and (config.image_dim is not None or config.in_channels == 2 * vae.z_dim + MASK_CHANNELS):
            raise ModelFolderError(
                f"{folder} is called a {found.pipeline}, and its transformer takes an image; name the folder of a {IMAGE_TO_VIDEO}"
            )
        if config.in_channels != vae.z_dim + beside or config.out_channels != vae.z_dim:
            of_picture = f", {beside} of them for the picture" if beside else ""
            raise ModelFolderError(
                f"{folder}: its transformer takes {config.in_channels} channels and gives {config.out_channels}, "
                f"its VAE has {vae.z_dim} and a {found.pipeline} takes {vae.z_dim + beside}{of_picture}; they belong to different models"
            )
        lacking = [name for name in ("image_encoder", "image_processor") if name not in found.parts]
        if config.image_dim is not None and lacking:
            raise ModelFolderError(
                f"{folder} lacks {', '.join(lacking)}, and its transformer attends an image's features; a {IMAGE_TO_VIDEO} saved whole "
                "has them"
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


def _summary(settings: WanSettings, configs: Sequence[TransformerConfig], pictures: tuple[str, ...]) -> str:
    size = counted(transformer_shapes(configs[0]))
    task = ("T2V", "I2V", "FLF2V")[len(pictures)]
    if len(configs) == 2:
        return f"Wan 2.2 {task} with two experts, 2 × {size} parameters"
    if settings.expand_timesteps:
        return f"Wan 2.2 TI2V as {'image' if pictures else 'text'}-to-video, {size} parameters"
    return f"Wan 2.1 {task}, {size} parameters"
