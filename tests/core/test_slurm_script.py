"""The script for Slurm, run by a shell, with stand-ins for what a cluster has: srun, scontrol, and a distill that is told what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "examples" / "slurm" / "train.sbatch"

SRUN = """#!/bin/bash
# As srun: so many tasks of a command, told their places; a signal is passed on; the status is the highest of theirs.
shift
tasks=()
trap 'kill -USR1 "${tasks[@]}"' USR1
trap 'kill -TERM "${tasks[@]}"' TERM
for task in 0 1; do SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=2 "$@" & tasks+=($!); done
highest=0
for task in "${tasks[@]}"; do
  status=999
  while kill -0 "$task" 2> /dev/null; do wait "$task"; status=$?; done
  [ "$status" -eq 999 ] && { wait "$task"; status=$?; }
  [ "$status" -gt "$highest" ] && highest=$status
done
exit "$highest"
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then printf 'node-a\\nnode-b\\n'; else echo "$@" >> scontrol.log; fi
"""
DISTILL = """#!/bin/bash
echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $*" >> distill.log
for signal in USR1 TERM; do trap "echo saved $RANK >> distill.log; exit $((128 + $(kill -l $signal)))" $signal; done
touch "ready$RANK"
case "$BEHAVE" in waits) while true; do sleep 0.05; done;; *) exit "$BEHAVE";; esac
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder to run the script in, whose ``bin`` has the stand-ins."""
    (tmp_path / "bin").mkdir()
    for name, script in {"srun": SRUN, "scontrol": SCONTROL, "distill": DISTILL}.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def job(cluster: Path, behave: str, number: signal.Signals | None = None) -> int:
    """The script's exit status; ``number`` is sent to the tasks, as ``--signal=USR1@90`` does."""
    path = f"{cluster / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node-[a-b]", "BEHAVE": behave}
    process = subprocess.Popen(["bash", str(SCRIPT), "my run.yaml"], cwd=cluster, env=environment)
    if number is not None:
        deadline = time.monotonic() + 30
        while not ((cluster / "ready0").exists() and (cluster / "ready1").exists()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (srun,) = subprocess.run(
            ["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=True
        ).stdout.split()
        os.kill(int(srun), number)
    return process.wait(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_job_whose_time_is_up_is_put_back_into_the_queue_once_all_have_saved(
    cluster: Path, number: signal.Signals
) -> None:
    assert job(cluster, "waits", number) == 128 + number
    assert (cluster / "scontrol.log").read_text() == "requeue 4711\n"
    assert sorted(line for line in (cluster / "distill.log").read_text().splitlines() if "saved" in line) == [
        "saved 0",
        "saved 1",
    ]


@pytest.mark.parametrize("status", ["0", "76", "65"])
def test_a_job_that_is_done_or_broken_is_not(cluster: Path, status: str) -> None:
    assert job(cluster, status) == int(status)
    assert not (cluster / "scontrol.log").exists()


def test_each_task_knows_its_place_and_the_run_by_whatever_name(cluster: Path) -> None:
    job(cluster, "0")
    told = sorted((cluster / "distill.log").read_text().splitlines())
    assert told == [f"{rank} {rank} 2 node-a run my run.yaml checkpoint.grace=80" for rank in (0, 1)]


def test_the_page_has_the_script_as_it_is() -> None:
    assert f"```bash\n{SCRIPT.read_text()}```" in (REPOSITORY / "docs" / "scale.md").read_text()
