"""What the pages show and no other test runs: every YAML is a run, or part of one; every `distill …` is a command; every key is one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.commands.conftest import REPOSITORY
from typer.core import TyperGroup
from typer.main import get_command

from distill_core.cli.app import app
from distill_core.config.chosen import ChosenPlugins
from distill_core.config.document import write_yaml
from distill_core.config.load import load_run
from distill_core.config.schema import RunConfig
from distill_core.config.shape import outline_of
from distill_core.plugins.discovery import discover

PAGES = [
    page
    for folder in (".", "docs", "packages/*", "examples/*")
    for page in sorted(REPOSITORY.glob(f"{folder}/*.md"))
    if page.name != "CHANGELOG.md"
]
ROLES = {name: {"path": "-", "trainable": name != "teacher"} for name in ("student", "teacher", "critic")}
REST = {"recipe": {"family": "wan", "method": "dmd2"}, "data": {"path": "-"}, "training": {"max_train_steps": 10}}
FOREIGN = "docs/coming-from.md"
"""It names other trainers' keys; tests/importers holds it to what the importers say."""
FILES = ("json", "jsonl", "md", "parquet", "py", "sh", "txt", "yaml")
"""How the names of files end that begin like a section's."""
ANY_NAME = ("pipeline_config", "method_config", "families", "metrics", "rewards")
"""Sections whose keys are a plugin's."""


def named(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def shown_runs() -> Iterator[Any]:
    """Each block of YAML whose first keys are a run's; those for clusters have other ones."""
    for page in PAGES:
        blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for number, (indent, text) in enumerate(blocks):
            lines = [line.removeprefix(indent) for line in text.splitlines()]
            shown = yaml.safe_load("\n".join(lines))
            if shown.keys() <= RunConfig.model_fields.keys():
                yield pytest.param(shown, id=f"{named(page)} {number}")


@pytest.mark.parametrize("shown", shown_runs())
def test_a_shown_run_or_part_of_one_obeys_the_schema_and_its_plugins_options(
    shown: Mapping[str, Any], tmp_path: Path
) -> None:
    whole: dict[str, Any] = {"output_dir": "-", "roles": ROLES, **REST}
    for name, section in shown.items():
        whole[name] = {**whole.get(name, {}), **section} if isinstance(section, Mapping) else section
    for name, role in whole["roles"].items():
        whole["roles"][name] = role if role.keys() & {"path", "base"} else {**ROLES[name], **role}
    (tmp_path / "run.yaml").write_text(write_yaml(whole), encoding="utf-8")
    assert ChosenPlugins(load_run(tmp_path / "run.yaml").document, discover()).problems == []


def spoken(page: Path) -> tuple[list[str], list[str]]:
    """The lines of a page's blocks of commands, and what stands between single backticks beside them."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```(?:console|bash)?\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    beside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.partition(" #")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return lines, re.findall(r"`([^`\n]+)`", beside)


def shown_commands() -> Iterator[Any]:
    """Each `distill …` once, by its words."""
    seen = set[str]()
    for page in PAGES:
        for text in (each for kind in spoken(page) for each in kind):
            found = re.search(r"(?:^|[$] |uv run |--no-python )distill ([a-z][a-z -].*)", text)
            if found and found[1] not in seen:
                seen.add(found[1])
                yield pytest.param(shlex.split(re.sub(r"[][]", " ", found[1])), id=f"{named(page)}: {found[1]}")


@pytest.mark.parametrize("words", shown_commands())
def test_a_shown_command_is_one_with_options_that_it_has_and_files_that_are_there(words: list[str]) -> None:
    command = get_command(app)
    while isinstance(command, TyperGroup) and words:
        name, *words = words
        assert name in command.commands
        command = command.commands[name]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options
    shipped = [word for word in words if word.startswith("examples/") and "work" not in Path(word).parts]
    assert all((REPOSITORY / word).exists() for word in shipped)
    overrides = [word for word in words if re.match(r"[\w.]+=", word)]
    if overrides and words[0] in shipped:
        load_run(REPOSITORY / words[0], overrides)


def is_a_key(dotted: str) -> bool:
    """Whether the schema has it; what is below a section of plugins is theirs."""
    section, *inner = dotted.split(".")
    return section in ANY_NAME or outline_of(RunConfig).at((section, *inner)) is not None


@pytest.mark.parametrize("page", [page for page in PAGES if named(page) != FOREIGN], ids=named)
def test_every_dotted_key_that_a_page_names_is_a_key_of_a_run(page: Path) -> None:
    _, spans = spoken(page)
    texts = [*spans, *page.read_text(encoding="utf-8").split("```")[1::2]]
    sections = "|".join(RunConfig.model_fields)
    keys = {key for text in texts for key in re.findall(rf"(?<![\w./-])((?:{sections})(?:\.\w+)+)(?=[=:`\s,]|$)", text)}
    keys = {key for key in keys if key.rpartition(".")[2] not in FILES}
    assert [key for key in sorted(keys) if not is_a_key(key)] == []


def test_a_key_that_is_none_is_seen() -> None:
    assert is_a_key("roles.student.lora.rank")
    assert is_a_key("comparison.rows.NAME.num_frames")
    assert not is_a_key("roles.student.lora.rnak")
    assert not is_a_key("training.context")
