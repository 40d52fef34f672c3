"""What the ``pipeline_config`` of families of flow models has in common, and where what it leaves open comes from. Imports no torch."""

from dataclasses import replace
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from distill_core.errors import ModelFolderError
from distill_core.plugins import ModelFacts, Options
from distill_diffusers.facts import DiffusersFacts, diffusers_facts


class FlowOptions(Options):
    """How a flow model is conditioned and sampled; a family may add to it."""

    flow_shift: Annotated[float, Field(gt=0)] | None = None
    """Timestep shift of training and sampling. null: what the folder's scheduler records, or makes of the size of the latents."""
    sampling_shift: Annotated[float, Field(gt=0)] | None = None
    """The shift of sampling in a number of steps alone, where it is another than training's; null: `flow_shift`."""
    sampler_kind: Literal["ode", "sde"] = "ode"
    """The sampler of a validation request that names none."""
    negative_prompt: str | None = None
    """The "unconditional" side of guidance, in training and in sampling. null: what an export records, else the empty caption."""
    text_length: Annotated[int, Field(ge=1)] | None = None
    """Text tokens that the model attends, padding included; this must be the length that it was trained with. null: what the folder
    records, else what the family is published with."""


class GuidedOptions(FlowOptions):
    """Those of a family of which some members have guidance as an input of the denoiser."""

    embedded_guidance: Annotated[float, Field(ge=0)] | None = None
    """The guidance scale that the denoiser is told, in training and in sampling, where guidance is an input of it; guidance by two
    predictions comes on top. null: what the folder records, else what the family is published with."""


OptionsT = TypeVar("OptionsT", bound=FlowOptions)


def settled(facts: ModelFacts, options: FlowOptions) -> DiffusersFacts:
    """A folder's facts under a run's options: its flow shift and its text length are the options', else what the folder records.

    Raises ModelFolderError for a text length other than the one that the folder records to have been trained with, and for a guidance
    scale that its denoiser cannot be told.
    """
    known = diffusers_facts(facts)
    recorded = known.recorded_text_length
    if recorded is not None and options.text_length not in (None, recorded):
        raise ModelFolderError(
            f"a text length of {options.text_length} is asked for, but {known.path} was trained with a padded text length of "
            f"{recorded}; leave out pipeline_config.text_length (or --text-length), or set it to {recorded}"
        )
    return replace(
        known,
        told_guidance=_told_guidance(known, options),
        flow_shift=known.flow_shift if options.flow_shift is None else options.flow_shift,
        text_length=known.text_length if options.text_length is None else options.text_length,
        negative_prompt=known.negative_prompt if options.negative_prompt is None else options.negative_prompt,
        sampling_shift=known.sampling_shift if options.sampling_shift is None else options.sampling_shift,
    )


def _told_guidance(facts: DiffusersFacts, options: FlowOptions) -> float | None:
    asked = options.embedded_guidance if isinstance(options, GuidedOptions) else None
    if asked is None:
        return facts.told_guidance
    if not facts.embedded_guidance:
        raise ModelFolderError(
            f"pipeline_config.embedded_guidance is set, but the denoiser of {facts.path} takes no guidance as an input; leave it out"
        )
    return asked


def completed(facts: ModelFacts, options: OptionsT) -> OptionsT:
    """The options with what was settled on."""
    known = diffusers_facts(facts)
    told = {"embedded_guidance": known.told_guidance} if isinstance(options, GuidedOptions) else {}
    return options.model_copy(
        update={
            **told,
            "flow_shift": known.flow_shift,
            "sampling_shift": known.sampling_shift,
            "negative_prompt": known.negative_prompt,
            "text_length": known.text_length,
        }
    )
