"""Puts a run into Slurm's queue by submitit, one task per GPU, as often as it takes: pip install "distill-core[slurm]"

python submit.py run.yaml training.seed=1 --nodes 4 --gpus 8 --hours 24 --set slurm_partition=gpu

A minute and a half before the time is up, or when the job is preempted, all processes save and leave; the job puts itself back into the
queue and goes on. It prints the job's number and where its log is. A copy of this file is yours to change.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
import yaml
from submitit.helpers import DelayedSubmission, TorchDistributedEnvironment

LEFT = (0, 128 + signal.SIGUSR1, 128 + signal.SIGTERM)
"""Exit statuses of a process that is done, or has saved because it was asked to leave."""


class Run:
    """``distill run``, as one of a job's tasks."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Its exit status. Raises RuntimeError, which submitit keeps, with the status and the reason of a run that failed."""
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        command = ["distill", "run", *self.arguments, "checkpoint.grace=80"]
        self.process = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN))
        self._wait()
        status = self.process.wait()
        if status not in LEFT:
            raise RuntimeError(f"distill run ended with status {status}: {self._reason()}")
        return status

    def checkpoint(self) -> DelayedSubmission:
        """What submitit calls when the time is up: let all processes save, and go on from there in the next job."""
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR1)
            self._wait()
        return DelayedSubmission(Run(self.arguments))

    def _wait(self) -> None:
        """Until the process has ended, also within a signal that came while another call of this waits."""
        assert self.process is not None
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def _reason(self) -> str:
        """What the run directory says."""
        said = [each.partition("=")[2] for each in self.arguments if each.startswith("output_dir=")]
        output = said[-1] if said else yaml.safe_load(Path(self.arguments[0]).read_text(encoding="utf-8"))["output_dir"]
        file = Path(output, "exit_reason.json")
        return file.read_text(encoding="utf-8") if file.is_file() else "its log says why"


def submitted(arguments: Sequence[str]) -> submitit.Job[int]:
    """The job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the run.yaml")
    parser.add_argument("overrides", nargs="*", help="key=value, as `distill run` takes them")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=8, help="of a node")
    parser.add_argument("--cpus", type=int, default=12, help="of a GPU")
    parser.add_argument("--hours", type=float, default=24.0, help="of one job; the run takes as many jobs as it needs")
    parser.add_argument("--log", default="slurm", help="the folder for logs; all machines have to see it")
    parser.add_argument("--cluster", default="slurm", help="local starts the processes here")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any parameter of submitit's")
    asked = parser.parse_intermixed_args(arguments)
    executor = submitit.AutoExecutor(asked.log, cluster=asked.cluster, slurm_max_num_timeout=1000)
    further: dict[str, Any] = dict(each.split("=", 1) for each in asked.set)
    executor.update_parameters(
        name="distill",
        nodes=asked.nodes,
        tasks_per_node=asked.gpus,
        gpus_per_node=asked.gpus,
        cpus_per_task=asked.cpus,
        timeout_min=max(1, round(60 * asked.hours)),
        slurm_signal_delay_s=90,
        **further,
    )
    return executor.submit(Run([asked.run, *asked.overrides]))


if __name__ == "__main__":
    job = submitted(sys.argv[1:])
    print(json.dumps({"job": job.job_id, "log": str(job.paths.stdout)}))
