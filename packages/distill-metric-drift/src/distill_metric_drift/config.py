"""Options of the metric."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distill_core.plugins import Options


class DriftOptions(Options):
    """What is a clip's beginning, and its end."""

    window_frames: Annotated[int, Field(ge=1)] | None = None
    """Frames of the beginning, and as many of the end; null: a quarter of the clip."""
