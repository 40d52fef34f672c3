"""Wan's own options, ``pipeline_config`` in run.yaml, and the one place where those left open are resolved."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from distill_core.plugins import ModelFacts
from distill_diffusers import options as flow_options
from distill_diffusers.passes.options import PassOptions
from distill_model_wan.folder import WanFolder, wan_folder

DEFAULT_FLOW_SHIFT = 3.0
"""The published shift of Wan at 480p."""


class WanOptions(PassOptions):
    """How a Wan model is conditioned and sampled."""

    flow_shift: Annotated[float, Field(gt=0)] | None = None
    """Timestep shift of training and sampling: 3 for 480p, 5 for 720p. null: what the folder's scheduler records, else 3."""
    text_length: Annotated[int, Field(ge=1)] | None = None
    """Text tokens that the model attends, padding included; the padding is part of what it is conditioned on, so this must be
    the length that it was trained with. null: what the folder records, else 512."""
    text_padding: Literal["fold", "full"] = "fold"
    """fold: let a few padding tokens stand for all of them, which is exact and several times faster. full: attend every one."""


def settled(facts: ModelFacts, options: WanOptions) -> WanFolder:
    """A folder's facts under a run's options: its flow shift is the option, else what the folder records, else 3; its text length likewise.

    Raises ModelFolderError for a text length other than the one that the folder records to have been trained with.
    """
    folder = wan_folder(facts)
    shift = DEFAULT_FLOW_SHIFT if folder.flow_shift is None else folder.flow_shift
    return wan_folder(flow_options.settled(replace(folder, flow_shift=shift), options))
