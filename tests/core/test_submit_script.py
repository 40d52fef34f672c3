"""The script for submitit, in whose local executor jobs are what they are under Slurm: tasks that are asked to leave, and come again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest
from submitit.core.utils import FailedJobError, UncompletedJobError

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "submit.py"
DISTILL = """#!/bin/bash
# Waits to be asked to leave; where that has happened once, it is done, or broken.
echo "$RANK $LOCAL_RANK $WORLD_SIZE ${MASTER_PORT:+port} $*" >> distill.log
trap 'sleep 0.2; echo "saved $RANK" >> distill.log; exit 138' USR1
if [ -e "came$RANK" ]; then exit "$STATUS"; fi
touch "came$RANK"; echo "$PPID" > "task$RANK.part"; mv "task$RANK.part" "task$RANK"
while true; do sleep 0.05; done
"""


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script, in a folder whose ``distill`` is told what to do."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "distill").write_text(DISTILL)
    (tmp_path / "bin" / "distill").chmod(0o755)
    (tmp_path / "my run.yaml").write_text("output_dir: here\n")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "exit_reason.json").write_text('{"reason": "the disk is full"}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    spec = spec_from_file_location("submit_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setitem(sys.modules, "submit_script", script)
    cloudpickle.register_pickle_by_value(script)
    yield script
    cloudpickle.unregister_pickle_by_value(script)


def task(rank: int) -> int:
    """The process of a task, once its distill waits."""
    file, deadline = Path(f"task{rank}"), time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(file.read_text())


def test_a_job_whose_time_is_up_saves_and_comes_again(submit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS", "0")
    job = submit.submitted(["my run.yaml", "training.seed=1", "--gpus", "2", "--cluster", "local"])
    tasks = [task(rank) for rank in range(2)]
    for process in tasks:
        os.kill(process, signal.SIGUSR2)
    os.kill(
        int(os.popen(f"pgrep -P {tasks[1]} distill").read()), signal.SIGUSR1
    )  # as the ranks of a run tell each other
    assert job.results() == [0, 0]
    lines = Path("distill.log").read_text().splitlines()
    assert sorted(line for line in lines if "saved" in line) == ["saved 0", "saved 1"]
    told = [f"{rank} {rank} 2 port run my run.yaml training.seed=1 checkpoint.grace=80" for rank in (0, 0, 1, 1)]
    assert sorted(line for line in lines if "saved" not in line) == told


def test_a_run_that_fails_is_told_with_status_and_reason_and_does_not_come_again(
    submit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATUS", "65")
    Path("came0").touch()
    job = submit.submitted(["my run.yaml", "--gpus", "1", "--cluster", "local"])
    with pytest.raises((FailedJobError, UncompletedJobError), match=r"ended with status 65: .*the disk is full"):
        job.result()
    assert len(Path("distill.log").read_text().splitlines()) == 1
