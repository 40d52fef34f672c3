"""``method_config`` of finetune."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from distill_core.plugins import Options


class FinetuneOptions(Options):
    """Options of finetuning. σ = 1 is pure noise."""

    loss: Literal["velocity", "x0"] = "velocity"
    """velocity: mean (v - (ε - x0))². x0: mean ((x_t - σ v) - x0)², which weights a sample by σ²."""
    weighting_scheme: Literal["uniform", "logit_normal", "mode"] = "uniform"
    """Density of σ before the run's flow shift."""
    logit_mean: float = 0.0
    """Mean of logit σ under logit_normal; above 0 draws more noise."""
    logit_std: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of logit σ under logit_normal."""
    mode_scale: Annotated[float, Field(ge=-1, le=1.75)] = 1.29
    """s of the mode density; 0 is uniform, above 0 favours the middle."""
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of samples trained with the empty caption, so that guidance has something to guide away from."""
    attn_kind: Literal["dense", "vsa"] = "dense"
    """Attention of the student."""

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The shape of another density."""
        yield from super().idle()
        if self.weighting_scheme != "logit_normal":
            yield f"weighting_scheme is {self.weighting_scheme}", ("logit_mean", "logit_std")
        if self.weighting_scheme != "mode":
            yield f"weighting_scheme is {self.weighting_scheme}", ("mode_scale",)
