"""A run of a real pipeline that is stopped from outside and goes on. One signal after another: tests/core/test_stopping.py."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.commands.conftest import Command

RunYaml = Callable[..., Path]

ENDLESS = 100_000
"""Steps: however long this process waits for its turn, that one is still training when the signal comes."""
STUCK = 590.0
"""Seconds after which neither is slow, but stuck."""


def stopped_by(path: Path, run: Path, number: signal.Signals) -> tuple[int, str]:
    """Train until there is a checkpoint, then send a signal; the exit status and stderr."""
    command = [sys.executable, "-m", "distill_core", "run", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + STUCK
    while not list((run / "checkpoints").glob("step-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=STUCK)
    return process.returncode, err


def test_a_stopped_run_goes_on_with_the_same_command(run_yaml: RunYaml, tmp_path: Path, distill: Command) -> None:
    run = tmp_path / "run"
    options = {
        "training": {"max_train_steps": ENDLESS, "train_batch_size": 2, "device": "cpu"},
        "checkpoint": {"interval": 5},
    }
    path = run_yaml("finetune", **options)
    status, err = stopped_by(path, run, signal.SIGINT)
    assert status == 130
    assert "the same command goes on from" in err
    assert "Traceback" not in err
    assert json.loads((run / "exit_reason.json").read_text())["reason"] == "interrupted"
    reached = max(int(step.name.removeprefix("step-")) for step in (run / "checkpoints").glob("step-*"))
    assert reached < ENDLESS
    # As far as one more checkpoint: the rest would only take time.
    path.write_text(path.read_text().replace(f"max_train_steps: {ENDLESS}", f"max_train_steps: {reached + 5}"))
    again = distill("run", path)
    assert again.code == 0
    assert f"going on from step {reached} of {reached + 5}" in again.err
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "resumed"] == [reached]
    assert (run / "checkpoints" / f"step-{reached + 5:08d}" / "manifest.json").exists()
