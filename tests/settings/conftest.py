"""A tiny real pipeline, made once per test process, and a run.yaml that names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.commands.conftest import clips, distill, encoded, run_yaml
from tests.wan.conftest import folders, make_model, make_role, pipelines

from distill_core.config.document import write_yaml
from distill_core.config.resolve import ResolvedRun, open_run
from distill_core.plugins.discovery import discover

Resolve = Callable[..., ResolvedRun]

__all__ = ["clips", "distill", "encoded", "folders", "make_model", "make_role", "pipelines", "run_yaml"]
"""Fixtures of other folders' tests."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Wan pipeline folder, whose scheduler records a flow shift of 3."""
    from distill_model_wan.testing import make_tiny_pipeline

    return make_tiny_pipeline(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def shifted(tiny: Path, tmp_path: Path) -> Path:
    """The same, recording a flow shift of 5."""
    folder = tmp_path / "shifted"
    shutil.copytree(tiny, folder)
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "flow_shift": 5.0}))
    return folder


@pytest.fixture
def resolve(tiny: Path, tmp_path: Path) -> Resolve:
    """``resolve("dmd2", "training.seed=1", teacher=FOLDER)``: the resolved run of the tiny pipeline, without weights."""

    def resolved(method: str, *overrides: str, **folders: Path) -> ResolvedRun:
        names = ("student", "teacher", "critic") if method == "dmd2" else ("student",)
        run: dict[str, Any] = {
            "recipe": {"family": "wan", "method": method},
            "roles": {name: {"path": str(folders.get(name, tiny)), "trainable": name != "teacher"} for name in names},
            "data": {"path": str(tmp_path)},
            "training": {"max_train_steps": 100, "device": "cpu"},
            "output_dir": str(tmp_path / "run"),
        }
        path = tmp_path / "run.yaml"
        path.write_text(write_yaml(run), encoding="utf-8")
        return open_run(path, overrides, discover())

    return resolved


@pytest.fixture(scope="session")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Wan pipeline folder of two experts, whose boundary is 875."""
    from distill_model_wan.testing import make_tiny_pipeline

    return make_tiny_pipeline(tmp_path_factory.mktemp("models") / "experts", "a14b")
