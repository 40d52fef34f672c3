"""What it costs to tell a typo in a run.yaml, counted and not timed: what is imported, made and read before it is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from benchmarks.cli_start import TYPO

PROGRAM = """
import json, sys
from collections import Counter

calls = Counter()

def watch(frame, event, _):
    if event == "call":
        calls[f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"] += 1

if sys.argv[1:]:
    sys.setprofile(watch)
try:
    from distill_core.cli import main
    main(["run", "run.yaml"])
finally:
    sys.setprofile(None)
    print(json.dumps({"calls": calls, "modules": [*sys.modules]}))
"""
"""Runs the command, and prints what had been imported and, with an argument, how often each function was called."""


@pytest.fixture(scope="module")
def cost(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The calls and the modules of the second command with a typo: the first one keeps the list of plugins."""
    folder = tmp_path_factory.mktemp("typo")
    (folder / "run.yaml").write_text(TYPO)
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
    environment.pop("PYDANTIC_DISABLE_PLUGINS", None)
    for watched in ([], ["watched"]):
        program = [sys.executable, "-c", PROGRAM, *watched]
        done = subprocess.run(program, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert "training.max_train_stepz: unknown key; did you mean `max_train_steps`?" in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_typo_is_told_by_a_fraction_of_the_modules(cost: dict[str, Any]) -> None:
    ours = [name for name in cost["modules"] if name.partition(".")[0].startswith("distill")]
    assert 50 < len(ours) <= 104, ours
    assert "distill_core.plugins.discovery" not in ours
    assert not {"torch", "numpy", "pyarrow", "typer", "rich"}.intersection(cost["modules"])


def test_no_source_is_read_for_a_typo_nor_the_metadata_of_all_that_is_installed(cost: dict[str, Any]) -> None:
    assert cost["calls"]["distill_core.config.shape.outline_of"] == 3
    assert "ast.parse" not in cost["calls"]
    assert "importlib.metadata.entry_points" not in cost["calls"]


def test_classes_are_built_for_a_typo_only_if_something_is_checked_by_them(cost: dict[str, Any]) -> None:
    made = cost["calls"]["pydantic._internal._model_construction.ModelMetaclass.__new__"]
    built = cost["calls"]["pydantic._internal._model_construction.complete_model_class"]
    assert 0 < built <= 12 < made / 3
    # of what dmd2 demands: its roles, and no column
    assert cost["calls"]["pydantic._internal._generate_schema.GenerateSchema._dataclass_schema"] == 1
