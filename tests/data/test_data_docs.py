"""docs/data.md says what the commands and the schemas are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools.data_cases import TOPICS
from typer.core import TyperGroup
from typer.main import get_command

from distill_core.cli.data import app
from distill_core.data.encoding.captions import CAPTION_KEYS, FILE_KEYS
from distill_core.data.encoding.folder_captions import CAPTION_FILES
from distill_core.data.reading.columns import T2V_SCHEMA, TEXT_ONLY_SCHEMA
from distill_core.data.reading.tensors import DTYPES

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
COMMANDS = ("encode", "inspect", "trajectories", "validate")


def options_of(command: str) -> set[str]:
    """The options of `distill data COMMAND`."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return {
        option for parameter in group.commands[command].params for option in parameter.opts if option.startswith("--")
    }


def test_every_option_is_on_the_page_and_every_option_on_the_page_exists() -> None:
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) == set().union(*map(options_of, COMMANDS))


def test_every_command_on_the_page_has_only_options_of_its_own() -> None:
    commands = re.findall(r"^distill data (\w+) (.*)$", PAGE, flags=re.MULTILINE)
    assert {name for name, _ in commands} == set(COMMANDS)
    assert len(commands) == 9
    for name, arguments in commands:
        assert set(re.findall(r"--[a-z][a-z-]+", arguments)) <= options_of(name)


def test_the_table_of_columns_is_the_schema() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w<>]+) \| (yes)? *\|", PAGE, flags=re.MULTILINE)
    assert [name for name, _, _ in rows] == T2V_SCHEMA.names
    assert [name for name, _, marked in rows if marked] == TEXT_ONLY_SCHEMA.names
    for name, kind, _ in rows:
        assert kind == re.sub(r"<.*: (\w+)>", r"<\1>", str(T2V_SCHEMA.field(name).type))


@pytest.mark.parametrize("word", [*FILE_KEYS, *CAPTION_KEYS, *CAPTION_FILES, *DTYPES])
def test_every_name_that_a_file_may_use_is_on_the_page(word: str) -> None:
    assert f"`{word}`" in PAGE


def test_every_input_that_is_tried_stands_in_the_appendix() -> None:
    tables = PAGE.partition("uv run python -m tools.data_cases")[2]
    titles = re.findall(r"^### (.+)$", tables, flags=re.MULTILINE)
    brought = re.findall(r"^\| (.+?) \| `.*` \|$", tables, flags=re.MULTILINE)
    assert titles == [topic.title for topic in TOPICS]
    assert brought == [case.brought for topic in TOPICS for case in topic.cases]
