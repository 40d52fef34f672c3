"""A run.yaml that is right, to be made wrong by one edit at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distill_core.config.load import load_run
from distill_core.errors import ConfigError, Problem

RUN = """\
recipe: {family: picture, method: turbo}
roles:
  student: {path: small}
  teacher: {path: small, trainable: false}
data:
  path: clips
training:
  max_train_steps: 10
output_dir: out
"""

SECTIONS = {
    "training": RUN.index("  max_train_steps"),
    "data": RUN.index("  path: clips"),
    "": 0,
}

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a run.yaml and returns its path."""

    def _write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def with_line(section: str, line: str) -> str:
    """The right run with one more line in a section."""
    at = SECTIONS[section]
    indent = "  " if section else ""
    return f"{RUN[:at]}{indent}{line}\n{RUN[at:]}"


def problems_of(path: Path, *overrides: str) -> tuple[Problem, ...]:
    """What is wrong with a run.yaml."""
    with pytest.raises(ConfigError) as caught:
        load_run(path, overrides)
    assert caught.value.exit_code == 2
    return caught.value.problems


def the_problem(path: Path, *overrides: str) -> Problem:
    """The one thing that is wrong with it."""
    problems = problems_of(path, *overrides)
    assert len(problems) == 1, problems
    return problems[0]
