"""``distill config``: what it prints, how it exits, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_yaml_specs import INDEX
from tests.config.conftest import RUN, Write
from typer.testing import CliRunner

from distill_core.cli.config import app
from distill_core.errors import ConfigError, RunDirectoryError
from distill_core.plugins import discovery, kept_index

HEAVY = ("torch", "diffusers", "transformers", "wandb", "numpy", "pyarrow", "av")


@pytest.fixture
def _specs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "discover", lambda: INDEX)
    monkeypatch.setattr(kept_index, "installed", lambda: INDEX)


@pytest.mark.usefixtures("_specs")
def test_check_raises_every_problem_for_the_command_line_to_print(write: Write) -> None:
    overrides = ["training.seed=x", "method_config.sample=2", "roles.student.path=gone"]
    result = CliRunner().invoke(app, ["check", str(write(RUN)), *overrides])
    assert isinstance(result.exception, ConfigError)
    assert {problem.key for problem in result.exception.problems} == {
        "training.seed", "method_config.sample", "roles.student.path", "data.path",
    }  # fmt: skip


@pytest.mark.usefixtures("_specs")
def test_schema_is_printed_or_written(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["schema"])
    written = tmp_path / "schema.json"
    assert CliRunner().invoke(app, ["schema", "--output", str(written)]).output == ""
    assert written.read_text(encoding="utf-8") == printed.output
    assert "pipeline_config.picture" in json.loads(printed.output)["$defs"]


@pytest.mark.usefixtures("_specs")
def test_schema_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["schema", "--output", str(tmp_path / "no" / "schema.json")])
    assert isinstance(result.exception, RunDirectoryError)


def test_the_real_command_exits_2_with_file_and_line_and_imports_nothing_heavy(write: Write) -> None:
    path = write(RUN.replace("max_train_steps", "max_steps"))
    program = (
        "import sys\nfrom distill_core.cli import main\n"
        f"sys.argv = ['distill', 'config', 'check', {str(path)!r}]\n"
        "try:\n    main()\nfinally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert result.returncode == 2, result.stderr
    assert result.stdout == "[]\n"
    assert f"{path}:8: training.max_steps: unknown key" in result.stderr
    assert "Traceback" not in result.stderr
