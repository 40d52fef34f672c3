"""What every family's facts have in common: what a folder records alike, whatever its family. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pydantic import Field

from distill_core.errors import ModelFolderError
from distill_core.plugins import LatentSpace, ModelFacts
from distill_core.protocols import ValidationRequest
from distill_diffusers.json_files import SCHEDULER, Json, parse
from distill_diffusers.pipeline_folder import PipelineFolder

SHIFT_KEYS = {
    "UniPCMultistepScheduler": "flow_shift",
    "DPMSolverMultistepScheduler": "flow_shift",
    "FlowMatchEulerDiscreteScheduler": "shift",
}
"""The schedulers of diffusers that can sample a flow, and how each calls the flow shift."""

DECODING = ("decoder.", "post_quant_conv.")
"""How every autoencoder of diffusers calls what makes pixels of latents."""


@dataclass(frozen=True, kw_only=True)
class DiffusersFacts(ModelFacts):
    """The facts of a pipeline folder.

    Attributes:
        folder: the folder itself.
        recorded_text_length: the padded text length that an export records, or None.
        negative_prompt: what guidance leads away from, which an export records.
        sampling_shift: the shift of sampling in so many steps, where it is not the flow shift; an export records it.
        told_guidance: the guidance scale that the denoiser is told, where guidance is an input of it (``embedded_guidance``).
    """

    folder: PipelineFolder
    recorded_text_length: int | None = None
    negative_prompt: str = ""
    sampling_shift: float | None = None
    told_guidance: float | None = None

    @property
    def experts(self) -> tuple[str, ...]:
        """The parts that denoise, the one for noisier timesteps first."""
        return self.folder.experts


def diffusers_facts(facts: ModelFacts) -> DiffusersFacts:
    """Facts of a diffusers family."""
    assert isinstance(facts, DiffusersFacts), f"expected the facts of a pipeline folder, got {type(facts).__name__}"
    return facts


class CommonFacts(TypedDict):
    """Those facts that every folder records alike, by their names."""

    path: Path
    folder: PipelineFolder
    text_length: int
    recorded_text_length: int | None
    flow_shift: float | None
    negative_prompt: str
    sampling_shift: float | None
    sampling: ValidationRequest | None
    latent_shape: tuple[int, int, int, int] | None
    encoders: tuple[str, ...]
    autoencoder: str
    decoding: tuple[str, ...]
    told_guidance: float | None
    embedded_guidance: bool
    frozen_alone: str


class SchedulerConfig(Json):
    """scheduler/scheduler_config.json."""

    class_name: str = Field(alias="_class_name")
    flow_shift: float | None = None
    shift: float | None = None
    use_dynamic_shifting: bool = False


def common_facts(
    folder: PipelineFolder, *, text_length: int, told_guidance: float | None = None, flow_shift: float | None = None
) -> CommonFacts:
    """Those of a folder, whose parts are checked; ``text_length`` is the padded length that the family is published with.

    ``told_guidance``: the guidance scale that the family is published with, of a folder whose denoiser is told one. ``flow_shift``: that
    of a family whose scheduler counts noise in another way than a flow does.

    Raises ModelFolderError for a folder that is not whole, or whose scheduler samples no flow.
    """
    folder.check_parts()
    record = folder.record
    return CommonFacts(
        path=folder.path,
        folder=folder,
        text_length=text_length if record.text_length is None else record.text_length,
        recorded_text_length=record.text_length,
        flow_shift=_flow_shift(folder) if flow_shift is None else _recorded_shift(folder, flow_shift),
        negative_prompt="" if record.sampling is None else record.sampling.negative_prompt,
        sampling_shift=record.sampling_shift,
        sampling=None if record.sampling is None else record.sampling.request,
        latent_shape=record.latent_shape,
        encoders=folder.lent,
        autoencoder="vae",
        decoding=DECODING,
        told_guidance=told_guidance if told_guidance is None or record.told_guidance is None else record.told_guidance,
        embedded_guidance=told_guidance is not None,
        frozen_alone=folder.frozen_alone,
    )


def evenly_scaled(
    channels: int, temporal_stride: int, spatial_stride: int, *, scaling_factor: float, shift_factor: float = 0.0
) -> LatentSpace:
    """The space of a VAE that scales all channels alike: normalised = (raw - shift_factor) * scaling_factor."""
    mean, std = (shift_factor,) * channels, (1.0 / scaling_factor,) * channels
    return LatentSpace(channels, temporal_stride, spatial_stride, mean, std)


def _recorded_shift(folder: PipelineFolder, flow_shift: float) -> float:
    return flow_shift if folder.record.flow_shift is None else folder.record.flow_shift


def _flow_shift(folder: PipelineFolder) -> float | None:
    """The flow shift that the folder records: an export's own record first, for its scheduler's shift is another number.

    None where it says none, or where it depends on the size of the latents.
    """
    scheduler = parse(SchedulerConfig, folder.scheduler, folder.path / SCHEDULER)
    if scheduler.class_name not in SHIFT_KEYS:
        known = ", ".join(SHIFT_KEYS)
        raise ModelFolderError(
            f"{folder.path}: its scheduler is a {scheduler.class_name}, which is not supported; use one of {known}"
        )
    if folder.record.flow_shift is not None:
        return folder.record.flow_shift
    if scheduler.use_dynamic_shifting:
        return None
    return scheduler.flow_shift if SHIFT_KEYS[scheduler.class_name] == "flow_shift" else scheduler.shift
