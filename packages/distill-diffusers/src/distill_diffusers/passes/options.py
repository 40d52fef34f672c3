"""The option of families whose self-attention may be sparse. Imports no torch."""

from typing import Literal, TypeVar

from distill_diffusers.options import FlowOptions


class PassOptions(FlowOptions):
    """Those of a flow model, and what computes its sparse attention."""

    vsa_engine: Literal["auto", "torch", "flex", "kernel"] = "auto"
    """What computes video sparse attention. torch: anywhere. flex: compiled, on a GPU. kernel: fastvideo-kernel or vsa, where one is
    installed. auto: the last of them that can serve; the log says which. One that is asked for and cannot serve is an error."""


PassOptionsT = TypeVar("PassOptionsT", bound=PassOptions)
