"""A model folder whose weights are not those that it needs: one line before anything is made, in the dry run too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

RunYaml = Callable[..., Path]


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["run", "dry-run"])
@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_a_missing_tensor_is_one_line_and_no_run_directory(
    distill: Callable[..., Any], run_yaml: RunYaml, tiny: Path, tmp_path: Path, part: str, options: tuple[str, ...]
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "broken"))
    (weights,) = (folder / part).glob("*.safetensors")
    tensors = load_file(weights)
    name = sorted(tensors)[3]
    del tensors[name]
    save_file(tensors, weights, metadata={"format": "pt"})
    path = run_yaml(roles={"teacher": {"path": str(folder), "trainable": False}}, training={"max_train_steps": 5})
    result = distill("run", path, *options)
    assert result.code == 2
    assert f"roles.teacher.path: {folder / part} lacks {name}, which its config.json calls for" in result.err
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
