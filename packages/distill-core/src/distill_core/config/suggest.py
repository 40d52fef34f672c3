"""What the user may have meant by a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like ``word``, whatever its case and with - for _, or None if none is like it."""
    by_folded = {_folded(candidate): candidate for candidate in candidates}
    found = difflib.get_close_matches(_folded(word), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def unknown_key(key: str, here: Sequence[str], elsewhere: Mapping[str, Sequence[str]]) -> str:
    """What to say of a key that its mapping does not have.

    ``here`` are the keys that the mapping has, ``elsewhere`` those of the other mappings by their dotted path.
    """
    homes = [section for section, keys in elsewhere.items() if key in keys]
    meant = closest(key, here)
    if homes:
        belongs = f"`{key}` belongs under {' or '.join(_place(section) for section in homes)}"
        return (
            f"unknown key; did you mean `{meant}`? ({belongs})" if meant is not None else f"unknown key here; {belongs}"
        )
    if meant is not None:
        return f"unknown key; did you mean `{meant}`?"
    meant = closest(key, [name for keys in elsewhere.values() for name in keys])
    if meant is not None:
        homes = [section for section, keys in elsewhere.items() if meant in keys]
        return f"unknown key; did you mean `{meant}` under {' or '.join(_place(section) for section in homes)}?"
    return f"unknown key; known here: {', '.join(here)}" if here else "unknown key; no keys are known here"


def _place(section: str) -> str:
    return f"`{section}`" if section else "the top level"


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
