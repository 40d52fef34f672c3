"""Wan's own options, ``pipeline_config`` in run.yaml, and the one place where those left open are resolved."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from distill_core.errors import ModelFolderError
from distill_core.plugins import ModelFacts, Options
from distill_model_wan.folder import WanFolder, wan_folder

DEFAULT_FLOW_SHIFT = 3.0
"""The published shift of Wan at 480p."""


class WanOptions(Options):
    """How a Wan model is conditioned and sampled."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    flow_shift: Annotated[float, Field(gt=0)] | None = None
    """Timestep shift of training and sampling: 3 for 480p, 5 for 720p. null: what the folder's scheduler records, else 3."""
    sampler_kind: Literal["ode", "sde"] = "ode"
    """The sampler of a validation request that names none."""
    negative_prompt: str = ""
    """The "unconditional" side of guidance, in training and in sampling."""
    text_length: Annotated[int, Field(ge=1)] | None = None
    """Text tokens that the model attends, padding included; the padding is part of what it is conditioned on, so this must be
    the length that it was trained with. null: what the folder records, else 512."""
    text_padding: Literal["fold", "full"] = "fold"
    """fold: let a few padding tokens stand for all of them, which is exact and several times faster. full: attend every one."""
    vsa_engine: Literal["auto", "torch", "flex", "kernel"] = "auto"
    """What computes video sparse attention. torch: anywhere. flex: compiled, on a GPU. kernel: fastvideo-kernel or vsa, where one is
    installed. auto: the last of them that can serve; the log says which. One that is asked for and cannot serve is an error."""


def settled(facts: ModelFacts, options: WanOptions) -> WanFolder:
    """A folder's facts under a run's options: its flow shift is the option, else what the folder records, else 3; its text length likewise.

    Raises ModelFolderError for a text length other than the one that the folder records to have been trained with.
    """
    folder = wan_folder(facts)
    recorded = folder.recorded_text_length
    if recorded is not None and options.text_length not in (None, recorded):
        raise ModelFolderError(
            f"a text length of {options.text_length} is asked for, but {folder.path} was trained with a padded text length of "
            f"{recorded}; leave out pipeline_config.text_length (or --text-length), or set it to {recorded}"
        )
    recorded_shift = DEFAULT_FLOW_SHIFT if folder.flow_shift is None else folder.flow_shift
    return replace(
        folder,
        flow_shift=recorded_shift if options.flow_shift is None else options.flow_shift,
        text_length=folder.text_length if options.text_length is None else options.text_length,
    )


def completed(facts: ModelFacts, options: WanOptions) -> WanOptions:
    """The options with the flow shift and the text length that were settled on."""
    folder = wan_folder(facts)
    return options.model_copy(update={"flow_shift": folder.flow_shift, "text_length": folder.text_length})
