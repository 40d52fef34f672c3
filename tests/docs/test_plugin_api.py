"""docs/plugin-api.md: its tables are the contract's."""

from __future__ import annotations

import re
from dataclasses import fields

from tests.commands.conftest import REPOSITORY

from distill_core.plugins import PLUGIN_API
from distill_core.protocols import Ask
from distill_core.protocols.adapter import OPERATIONS, PARTS

PAGE = (REPOSITORY / "docs" / "plugin-api.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    """The names in the first column of a section's table."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)


def test_it_is_the_page_of_this_api() -> None:
    assert PAGE.startswith(f"# The plugin API, number {PLUGIN_API}\n")


def test_every_operation_and_every_part_is_listed() -> None:
    assert set(first_cells("Operations")) == OPERATIONS.keys() - PARTS.keys()
    assert set(first_cells("What a prediction can be asked for")) == PARTS.keys()


def test_the_page_names_only_fields_that_an_ask_has() -> None:
    named = set(re.findall(r"`(\w+)=", PAGE.split("## What a prediction can be asked for")[1].split("## Roles")[0]))
    assert named <= {field.name for field in fields(Ask)}
