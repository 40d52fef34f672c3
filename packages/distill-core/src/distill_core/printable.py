"""Text from elsewhere (names, captions, paths, messages of plugins) such that showing it does nothing but show it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ACTING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, where escape sequences begin, but for tab and line feed
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing, so that a text shows as another
    r"\u2028\u2029\ud800-\udfff]"  # line breaks that are none elsewhere, and halves of pairs, which have no UTF-8
)


def visible_in(data: Any) -> Any:
    """Plain data with :func:`visible` texts, keys too."""
    if isinstance(data, Mapping):
        return {visible_in(key): visible_in(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [visible_in(value) for value in data]
    return visible(data) if isinstance(data, str) else data


def visible(text: str) -> str:
    """The text with each character that would act, e.g. on a terminal, as ``\\uXXXX``: what JSON calls it, so JSON stays the same."""
    if text.isprintable():  # none of them is, and most texts are: a tenth of the time
        return text
    return _ACTING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
