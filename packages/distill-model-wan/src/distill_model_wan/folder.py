"""A light look at a Wan pipeline folder: what it is, and whether distill supports it. Reads JSON and headers; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_core.plugins import ModelFacts
from distill_core.protocols import ValidationRequest
from distill_model_wan.hub import Located, locate
from distill_model_wan.pipeline_json import (
    ABSENT,
    INDEX,
    RECORD,
    SCHEDULER,
    ExportRecord,
    PipelineIndex,
    SchedulerConfig,
    TextEncoderConfig,
    TransformerConfig,
    VaeConfig,
    parse,
    read,
    read_record,
    read_scheduler,
)
from distill_model_wan.tensor_shapes import transformer_shapes
from distill_model_wan.vsa import CUBE
from distill_model_wan.weights import check_weights

DEFAULT_TEXT_LENGTH = 512
"""The padded length that every published Wan was trained with."""

SUPPORTED = (
    "Supported are Wan 2.1 T2V (1.3B, 14B), Wan 2.2 T2V-A14B and Wan 2.2 TI2V-5B as text-to-video, all as WanPipeline"
)

_OTHER_PIPELINES = {
    "WanImageToVideoPipeline": "an image-to-video Wan",
    "WanVideoToVideoPipeline": "a video-to-video Wan",
    "WanVACEPipeline": "a Wan VACE (video editing)",
    "WanAnimatePipeline": "a Wan Animate",
    "SkyReelsV2Pipeline": "a SkyReels V2",
    "SkyReelsV2ImageToVideoPipeline": "a SkyReels V2",
    "SkyReelsV2DiffusionForcingPipeline": "a SkyReels V2",
}
_CLASSES = {
    "vae": "AutoencoderKLWan",
    "transformer": "WanTransformer3DModel",
    "transformer_2": "WanTransformer3DModel",
    "text_encoder": "UMT5EncoderModel",
}
SHIFT_KEYS = {
    "UniPCMultistepScheduler": "flow_shift",
    "DPMSolverMultistepScheduler": "flow_shift",
    "FlowMatchEulerDiscreteScheduler": "shift",
}
"""The schedulers that can sample a Wan, and how each calls the flow shift."""


@dataclass(frozen=True)
class WanFolder(ModelFacts):
    """The facts of a Wan folder.

    Attributes:
        experts: the names of the denoiser's transformers, the high-noise one first.
        boundary_ratio: of two experts, the first denoises timesteps t >= 1000 · boundary_ratio.
        expand_timesteps: whether the transformer takes a timestep per token (TI2V).
        recorded_text_length: the padded text length that an export records, or None.
        hub_id: the hub id whose snapshot the folder is, or None.
    """

    experts: tuple[str, ...] = ("transformer",)
    boundary_ratio: float | None = None
    expand_timesteps: bool = False
    recorded_text_length: int | None = None
    hub_id: str | None = None


def wan_folder(facts: ModelFacts) -> WanFolder:
    """Facts of this family's own kind."""
    assert isinstance(facts, WanFolder), f"expected the facts of a Wan folder, got {type(facts).__name__}"
    return facts


def inspect(path: str) -> WanFolder:
    """The facts of a local folder or a hub id. Raises ModelFolderError for one that is no supported Wan, naming what it is."""
    located = locate(path)
    folder = located.folder
    index = _index(folder)
    experts = _experts(folder, index)
    configs = [read(TransformerConfig, folder / name / "config.json") for name in experts]
    vae = read(VaeConfig, folder / "vae" / "config.json")
    text_encoder = read(TextEncoderConfig, folder / "text_encoder" / "config.json")
    _refuse_unsupported(folder, configs, vae, text_encoder)
    _refuse_incomplete(located, experts)
    record = read_record(folder)
    first = configs[0]
    return WanFolder(
        path=folder,
        summary=_summary(index, configs),
        latent_space=vae.latent_space,
        text_width=first.text_dim,
        text_length=DEFAULT_TEXT_LENGTH if record.text_length is None else record.text_length,
        patch=first.patch_size,
        max_positions=first.rope_max_seq_len,
        flow_shift=_flow_shift(folder, record),
        sampling=_sampling(folder, record),
        latent_shape=record.latent_shape,
        encoders=("vae", "text_encoder", "tokenizer"),
        experts=experts,
        boundary_ratio=index.boundary_ratio,
        expand_timesteps=index.expand_timesteps,
        recorded_text_length=record.text_length,
        hub_id=located.hub_id,
    )


def _index(folder: Path) -> PipelineIndex:
    """The folder's model_index.json, of a class and with the parts that distill works with."""
    if not (folder / INDEX).is_file():
        raise ModelFolderError(f"{folder} is no diffusers pipeline folder: it has no {INDEX}; {_what_instead(folder)}")
    index = read(PipelineIndex, folder / INDEX)
    if index.class_name != "WanPipeline":
        kind = _OTHER_PIPELINES.get(index.class_name, f"a pipeline of class {index.class_name}")
        raise ModelFolderError(f"{folder} is {kind}, which is not supported. {SUPPORTED}")
    missing = [name for name, part in index.parts.items() if part == ABSENT and name != "transformer_2"]
    if missing:
        raise ModelFolderError(f"{folder} lacks {', '.join(missing)}; a Wan pipeline saved whole has them")
    for name, expected in _CLASSES.items():
        found = index.parts[name]
        if found not in (ABSENT, (found[0], expected)):
            raise ModelFolderError(f"{folder}: its {name} is a {found[1]}, expected {expected}. {SUPPORTED}")
    return index


def _what_instead(folder: Path) -> str:
    """What a folder without an index seems to be, and what was expected."""
    if (folder.parent / INDEX).is_file():
        return f"it is a part of one; name {folder.parent}"
    if (folder / "models_t5_umt5-xxl-enc-bf16.pth").is_file():
        return "it is Wan's original release; name the one in diffusers format (its name ends in -Diffusers)"
    return "expected what WanPipeline.save_pretrained writes, or a hub id such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers"


def _experts(folder: Path, index: PipelineIndex) -> tuple[str, ...]:
    if index.transformer_2 == ABSENT:
        if index.boundary_ratio is not None:
            raise ModelFolderError(f"{folder} has a boundary_ratio but no transformer_2 for the timesteps below it")
        return ("transformer",)
    if index.boundary_ratio is None:
        raise ModelFolderError(
            f"{folder} has a transformer_2 but no boundary_ratio in {INDEX} that says when it denoises"
        )
    return ("transformer", "transformer_2")


def _refuse_unsupported(
    folder: Path, configs: list[TransformerConfig], vae: VaeConfig, text_encoder: TextEncoderConfig
) -> None:
    for config in configs:
        if config.image_dim is not None or config.added_kv_proj_dim is not None or config.in_channels == 36:
            raise ModelFolderError(f"{folder} is an image-to-video Wan (its transformer takes an image). {SUPPORTED}")
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


def _refuse_incomplete(located: Located, experts: tuple[str, ...]) -> None:
    """Every part has its files, and they are whole; of a hub snapshot, weights come later, and are checked when they are loaded."""
    folder = located.folder
    if not (folder / "tokenizer" / "tokenizer_config.json").is_file():
        raise ModelFolderError(
            f"{folder} lacks tokenizer/tokenizer_config.json; the folder is incomplete, fetch it again"
        )
    if located.hub_id is not None:
        return
    for part in (*experts, "vae", "text_encoder"):
        check_weights(folder / part)


def _flow_shift(folder: Path, record: ExportRecord) -> float | None:
    """The flow shift that the folder records: an export's own record first, for its scheduler's shift is another number."""
    scheduler = parse(SchedulerConfig, read_scheduler(folder), folder / SCHEDULER)
    if scheduler.class_name not in SHIFT_KEYS:
        known = ", ".join(SHIFT_KEYS)
        raise ModelFolderError(
            f"{folder}: its scheduler is a {scheduler.class_name}, which is not supported; use one of {known}"
        )
    if record.flow_shift is not None:
        return record.flow_shift
    return scheduler.flow_shift if SHIFT_KEYS[scheduler.class_name] == "flow_shift" else scheduler.shift


def _sampling(folder: Path, record: ExportRecord) -> ValidationRequest | None:
    """How an export is to be sampled, as a request of no role's. Raises ModelFolderError for sparse attention in other cubes."""
    if record.sampling is None:
        return None
    sampler, timesteps, scale = record.sampling.sampler, record.sampling.timesteps, record.sampling.guidance_scale
    steps = record.sampling.steps if timesteps is None else None
    request = ValidationRequest("", sampler=sampler, steps=steps, timesteps=timesteps, guidance_scale=scale)
    vsa = record.sampling.vsa
    if vsa is None:
        return request
    if vsa.cube != CUBE:
        raise ModelFolderError(
            f"{folder / RECORD}: the model was trained with sparse attention in cubes of {vsa.cube}, and this version has those of "
            f"{CUBE} alone"
        )
    return replace(request, attn_kind="vsa", sparsity=vsa.sparsity)


def _summary(index: PipelineIndex, configs: list[TransformerConfig]) -> str:
    size = _billions(sum(prod(shape) for shape in transformer_shapes(configs[0]).values()))
    if len(configs) == 2:
        return f"Wan 2.2 T2V with two experts, 2 × {size} parameters"
    if index.expand_timesteps:
        return f"Wan 2.2 TI2V as text-to-video, {size} parameters"
    return f"Wan 2.1 T2V, {size} parameters"


def _billions(count: int) -> str:
    """A parameter count as people say it: 14.29B, 612k."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}" if unit < 10**9 else f"{count / unit:.2f}{name}"
    return str(count)
