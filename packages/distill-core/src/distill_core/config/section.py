"""What every mapping of run.yaml is made of."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from distill_core.described import Described


def _printable(path: str) -> str:
    """A path as it is. Raises ValueError for one with a control character: an operating system takes none as 0, and no person means one."""
    found = next((character for character in path if unicodedata.category(character) == "Cc"), None)
    if found is not None:
        raise ValueError(f"a path with the control character U+{ord(found):04X}; remove it")
    return path


Positive = Annotated[int, Field(ge=1)]
PathText = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1)]


class Section(Described):
    """A mapping of run.yaml: frozen, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
