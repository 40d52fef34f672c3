"""What the user may have meant by a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

ALIKE = 0.6
"""How like a key must be, as difflib has it, to be what was meant by another."""

NEAR = 0.85
"""How like it must be to be worth a word beside a better answer: a slip of a letter or two."""


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like ``word``, whatever its case and with - for _, or None if none is like it."""
    by_folded = {_folded(candidate): candidate for candidate in candidates}
    found = difflib.get_close_matches(_folded(word), by_folded, n=1, cutoff=ALIKE)
    return by_folded[found[0]] if found else None


def unknown_key(
    key: str, here: Sequence[str], elsewhere: Mapping[str, Sequence[str]], known_as: Mapping[str, str]
) -> str:
    """What to say of a key that its mapping does not have.

    ``here`` are the keys that the mapping has, ``elsewhere`` those of the other mappings by their dotted path, ``known_as`` what
    other tools call keys that are here. A key of exactly that name, wherever it is, goes before one that is only like it: a setting
    that is offered for another would be taken for it.
    """
    meant, likeness = _likest(key, here)
    if key in known_as:
        return f"unknown key; what other tools call `{key}` is `{known_as[key]}` here"
    exact = _exact(key, elsewhere)
    if exact:
        also = f"; or did you mean `{meant}`?" if likeness >= NEAR else ""
        return f"unknown key here; {exact}{also}"
    other, nearness = _likest(key, [name for keys in elsewhere.values() for name in keys])
    if (nearness >= NEAR and nearness > likeness) or (meant is None and other is not None):
        homes = [section for section, keys in elsewhere.items() if other in keys]
        return f"unknown key; did you mean `{other}` under {' or '.join(map(_place, homes))}?"
    if meant is not None:
        return f"unknown key; did you mean `{meant}`?"
    return f"unknown key; known here: {', '.join(here)}" if here else "unknown key; no keys are known here"


def _exact(key: str, elsewhere: Mapping[str, Sequence[str]]) -> str:
    """Where a key of this name is, or one whose path reads so with underscores: `ema_decay` is `decay` of an `ema`. Empty if nowhere."""
    homes = [section for section, keys in elsewhere.items() if key in keys]
    if homes:
        return f"`{key}` belongs under {' or '.join(map(_place, homes))}"
    for section, keys in elsewhere.items():
        for name in keys:
            path = [part for part in section.split(".") if part and not part.startswith("<")]
            if any(_folded("_".join([*path[depth:], name])) == _folded(key) for depth in range(len(path))):
                return f"it is `{name}` under {_place(section)}"
    return ""


def _likest(key: str, candidates: Sequence[str]) -> tuple[str | None, float]:
    """The candidate most like a key, and how like it is; (None, 0) if none is."""
    meant = closest(key, candidates)
    if meant is None:
        return None, 0.0
    return meant, difflib.SequenceMatcher(None, _folded(meant), _folded(key)).ratio()


def _place(section: str) -> str:
    return f"`{section}`" if section else "the top level"


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
