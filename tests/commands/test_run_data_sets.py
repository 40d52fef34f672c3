"""`distill run` on data sets that are no plain folder: of the Hugging Face Hub, or several by weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands.conftest import Command

RunYaml = Callable[..., Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_run_fetches_its_data_and_records_their_commit(
    distill: Command, run_yaml: RunYaml, encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "snapshots" / COMMIT
    shutil.copytree(encoded, folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    result = distill("run", run_yaml("finetune", data={"path": "owner/clips"}))
    assert result.code == 0, result.err
    run = tmp_path / "run"
    assert json.loads((run / "environment.json").read_text())["data"] == {"owner/clips": COMMIT}
    assert "path: owner/clips\n" in (run / "resolved.yaml").read_text()


def test_a_hub_id_that_cannot_be_had_is_one_error_at_its_line(
    distill: Command, run_yaml: RunYaml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)

    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError("no snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    path = run_yaml("finetune", data={"path": "owner/clips"})
    number = 1 + path.read_text().splitlines().index("  path: owner/clips")
    result = distill("run", path, "--dry-run")
    assert result.code == 65
    expected = f"error: {path}:{number}: data.path: owner/clips is no folder here, and HF_HUB_OFFLINE forbids"
    assert result.err.startswith(expected)
    assert len(result.err.splitlines()) == 1


def losses(run: Path) -> list[object]:
    """The figures of every step that do not depend on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "loss" in key or key == "step"} for line in lines]


def test_a_mixture_by_weights_trains_and_goes_on_as_if_it_had_not_stopped(
    distill: Command, run_yaml: RunYaml, encoded: Path, tmp_path: Path
) -> None:
    shutil.copytree(encoded, tmp_path / "more")
    data = {
        "path": str(encoded),
        "mix": [{"path": str(tmp_path / "more")}],
        "weights": {encoded.name: 0.7, "more": 0.3},
    }
    path = run_yaml("finetune", data=data, checkpoint={"interval": 3}, tracking={"log_interval": 1})
    for output, steps in (("whole", (6,)), ("parts", (3, 6))):
        for last in steps:
            result = distill("run", path, f"training.max_train_steps={last}", f"output_dir={tmp_path / output}")
            assert result.code == 0, result.err
    assert [len(line) for line in losses(tmp_path / "whole")] == [2] * 6
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    result = distill(
        "run", path, "data.weights.more=0.4", "training.max_train_steps=7", f"output_dir={tmp_path / 'parts'}"
    )
    assert result.code == 73
    assert "data.weights.more: 0.3 there, 0.4 here" in result.err
