"""`distill plan` of a tiny member of every family says what it needs, without a weight."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path

import pytest
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture
from tests.families.conftest import FRAMES, MORE, Family

from distill_core.config.document import write_yaml


@pytest.mark.parametrize("name", [*FRAMES, *MORE])
def test_a_run_of_each_family_is_planned_without_weights(
    distill: Command,  # noqa: F811
    make_family: Callable[[str], Family],
    tmp_path: Path,
    name: str,
) -> None:
    family = make_family(name)
    frames, height, width = family.frames
    folder = Path(shutil.copytree(family.folder, tmp_path / "tiny", ignore=shutil.ignore_patterns("*.safetensors")))
    run = {
        "recipe": {"family": name, "method": "finetune"},
        "roles": {"student": {"path": str(folder), "trainable": True}},
        "data": {"path": "nowhere", "num_frames": frames, "num_height": height, "num_width": width},
        "training": {"max_train_steps": 10},
        "output_dir": str(tmp_path / "run"),
    }
    (tmp_path / "run.yaml").write_text(write_yaml(run), encoding="utf-8")
    planned = distill("plan", tmp_path / "run.yaml", "--json")
    assert planned.code == 0, planned.err
    said = json.loads(planned.out)
    header = family.facts.folder.stored("transformer").tensors
    fixed = {"pos_embed.pos_embed"}  # sd3's positions are a buffer
    held = sum(prod(tensor.shape) for name, tensor in header.items() if name not in fixed)
    assert said["roles"][0]["trained"] == held
    assert said["peak"] > said["roles"][0]["weights"] > 4 * held - 1
    assert said["flops_per_step"] > 0
