"""``distill run --nproc-per-node``: Wan's blocks in parts on two real processes, as one process trains them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.commands.conftest import Command
from tests.commands.test_bad_input import RunYaml

FIGURES = ("student_loss", "critic_loss", "grad_norm/student", "grad_norm/critic")
SECTIONS: dict[str, dict[str, Any]] = {
    "training": {
        "max_train_steps": 2,
        "train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "enable_gradient_checkpointing_type": "full",
        "learning_rate": 1e-3,
    },
    "method_config": {"generator_update_interval": 1},
    "tracking": {"log_interval": 1},
    "validation": {"interval": 2, "max_prompts": 3},
}


def lines_of(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in FIGURES} for line in lines if FIGURES[0] in line]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True])
def test_two_processes_train_wan_in_parts_as_one_does(
    distill: Command, run_yaml: RunYaml, tmp_path: Path, lora: bool
) -> None:
    path = run_yaml(**SECTIONS)
    loras = ["roles.student.lora.rank=2", "roles.critic.lora.rank=2"] if lora else []
    assert distill("run", path, f"output_dir={tmp_path / 'one'}", *loras).code == 0
    command = [sys.executable, "-m", "distill_core", "run", str(path), f"output_dir={tmp_path / 'two'}", *loras]
    result = subprocess.run([*command, "--nproc-per-node", "2"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "done: step 2" in result.stderr + result.stdout
    one, two = lines_of(tmp_path / "one"), lines_of(tmp_path / "two")
    assert len(one) == len(two) == 2
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=2e-3)
    assert len(list((tmp_path / "two" / "samples").rglob("*.mp4"))) == 3


def test_a_launched_run_is_checked_once_before_any_process_is_started(distill: Command, run_yaml: RunYaml) -> None:
    result = distill("run", run_yaml(**SECTIONS), "--nproc-per-node", "3")
    assert result.code == 2
    assert result.err.count("error:") == 1
    assert "3 processes cannot share a batch of 2 equally; set it to a multiple of 3" in result.err
    result = distill("run", run_yaml(**SECTIONS), "--nproc-per-node", "2", "distributed.shard=3")
    fault = "distributed.shard: override 'distributed.shard=3': distributed.shard 3 does not divide the number of processes, 2"
    assert fault in result.err
