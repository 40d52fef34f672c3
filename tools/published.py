"""published.toml: which package of this repository brings what, from what they register.

``python -m tools.published > packages/distill-core/src/distill_core/plugins/published.toml`` writes it; tests/plugins/test_published.py
holds it to that.
"""

from __future__ import annotations

from pathlib import Path

from distill_core.plugins.discovery import discover

PACKAGES = Path(__file__).resolve().parents[1] / "packages"
KINDS = ("model", "method", "metric", "reward", "importer")
HEAD = "# Which package brings what, for the message on a name that is not installed: python -m tools.published"


def published() -> str:
    """The file's text."""
    rows = [row for row in discover().rows if (PACKAGES / row.package).is_dir()]
    tables = []
    for kind in KINDS:
        lines = sorted(f'{row.name} = "{row.package}"' for row in rows if row.kind == kind)
        tables.append("\n".join([f"[{kind}]", *lines]))
    return "\n\n".join([HEAD, *tables]) + "\n"


if __name__ == "__main__":
    print(published(), end="")
