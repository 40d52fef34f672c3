"""docs/run-yaml.md is what distill_core.config.reference makes today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from run_yaml_specs import INDEX

from distill_core.config.reference import reference
from distill_core.config.schema import RunConfig
from distill_core.config.shape import shape_of

PAGE = Path(__file__).parents[2] / "docs" / "run-yaml.md"


def test_the_page_in_docs_is_current() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "distill_core.config.reference"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert PAGE.read_text(encoding="utf-8") == made.stdout, (
        "run: python -m distill_core.config.reference > docs/run-yaml.md"
    )


def test_every_key_of_core_and_of_the_plugins_is_a_row_with_a_meaning() -> None:
    page = reference(INDEX)
    for _, section in shape_of(RunConfig).sections():
        for key, shape in section.properties.items():
            assert shape.description, key
            assert f"| `{key}` | {shape.allowed().replace('|', chr(92) + '|')} |" in page
    assert "| `rows` | a whole number, at least 1 | `2` | Rows of a tile. |" in page
    assert "| `width` | a whole number | required | The width. |" in page
