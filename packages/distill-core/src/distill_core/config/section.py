"""What every mapping of run.yaml is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from distill_core.described import Described

Positive = Annotated[int, Field(ge=1)]
PathText = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1)]


class Section(Described):
    """A mapping of run.yaml: frozen, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
