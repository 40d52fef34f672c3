"""torchrun starts all processes again when one is lost, and the run goes on from its last checkpoint: with the real torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands.test_bad_input import RunYaml

STEPS = 24
LONGEST = 300.0


def process_of(rank: int, run: Path) -> int | None:
    """The process of a rank of the run; None where there is none."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if str(run).encode() in command and f"\0RANK={rank}\0".encode() in b"\0" + environment:
            return int(folder.name)
    return None


@pytest.mark.slow
def test_a_rank_that_is_killed_is_started_again_by_torchrun_and_the_run_goes_on(
    run_yaml: RunYaml, tmp_path: Path
) -> None:
    path = run_yaml(
        "finetune",
        training={"max_train_steps": STEPS, "train_batch_size": 2},
        checkpoint={"interval": 2, "keep_last": 99},
        tracking={"log_interval": 1},
    )
    root = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "--max-restarts", "1", "-m", "distill_core", "run", str(path)]
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(command, stderr=log, stdout=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + LONGEST
    while not (root / "checkpoints" / "step-00000004").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.02)
    killed = process_of(1, path)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    assert process.wait(timeout=LONGEST) == 0, (tmp_path / "log").read_text()
    events = [json.loads(line) for line in (root / "events.jsonl").read_text().splitlines()]
    (resumed,) = [event["step"] for event in events if event["event"] == "resumed"]
    assert 4 <= resumed < STEPS
    steps = [json.loads(line)["step"] for line in (root / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))
    assert json.loads((root / "exit_reason.json").read_text())["reason"] == "completed"
