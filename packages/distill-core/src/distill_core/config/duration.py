"""Lengths of time, as people write them in a run.yaml: `90s`, `30min`, `2h`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_WRITTEN = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h)")


def seconds(text: str) -> float:
    """How long that is. Raises ValueError, with the remedy, for what is no length of time."""
    found = _WRITTEN.fullmatch(text)
    length = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if length <= 0.0:
        raise ValueError(f"{text!r} is no length of time; write a number above 0 and s, min or h, e.g. 90s, 30min, 2h")
    return length


def _checked(text: str) -> str:
    seconds(text)
    return text


Duration = Annotated[str, AfterValidator(_checked), Field(examples=["30min"])]
"""A length of time in s, min or h."""
