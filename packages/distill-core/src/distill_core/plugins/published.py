"""Which package of this repository brings what: the remedy for a name that no installed plugin has. Read for that message alone.

Knows no plugin: published.toml is data, which ``tools/published.py`` writes from what the packages register.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files

from distill_core.plugins.specs import Kind

FILE = "published.toml"


def package_of(kind: Kind, name: str) -> str | None:
    """The package that brings the model, method, metric, reward or importer of that name; None for one of other people."""
    text = files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    package: str | None = tomllib.loads(text).get(kind, {}).get(name)
    return package
