"""What training costs on one GPU at published sizes: time, arithmetic, memory. `benchmarks/gpu.sh` runs it after the tests that need a GPU.

`--only smoke` runs benchmarks/gpu_smoke.py alone, `--only compile` what is compiled of both.

Each line is one `distill run` in a process of its own, on random weights and data (`benchmarks/gpu_world.py`). Seconds a step are those
after the first step. Arithmetic is counted as it is done, recomputed forwards included; "of peak" is it against the card's dense bf16.
Compiled runs are not counted, for torch compiles nothing where operations are watched: theirs is that of the line before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from benchmarks import gpu_smoke
from benchmarks.gpu_world import SIZES, make_data, make_pipeline
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from distill_core.checkpoint import Checkpoints
from distill_core.cli import main as distill
from distill_core.config.document import write_yaml

ROOT = Path(__file__).resolve().parent.parent
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bf16 operations a second, by the makers' data sheets."""
METHODS = {"finetune": ("student",), "dmd2": ("student", "teacher", "critic")}


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        size: of the denoiser, by its name in ``SIZES``.
        method: finetune or dmd2.
        frames: of a clip, at 480×832.
        steps: training steps, the first of which is not timed.
        how: what is not the default, in words.
        overrides: of the run.
    """

    size: str
    method: str
    frames: int
    steps: int
    how: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The line's name."""
        return ", ".join(filter(None, (f"{self.size} {self.method}", f"{self.frames} frames", self.how)))

    @property
    def operations(self) -> Path:
        """Where its operations are written, within the benchmark's folder; of a compiled case, the plain one's."""
        of = replace(self, how="") if self.overrides == COMPILED else self
        return Path(of.folder) / "operations"

    @property
    def folder(self) -> str:
        """Its own, within the benchmark's."""
        return self.name.replace(" ", "-").replace("/", "-")


LORA = ("roles.student.lora={rank: 64}",)
SHARED = (
    *LORA,
    "roles.teacher={base: student, trainable: false}",
    "roles.critic={base: student, trainable: true, lora: {rank: 64}}",
)
COMPILED = ("training.compile=true",)
CASES = (
    Case("1.3B", "finetune", 81, 4),
    Case("1.3B", "finetune", 81, 4, "compile", COMPILED),
    Case("1.3B", "dmd2", 81, 4),
    Case("1.3B", "dmd2", 81, 4, "compile", COMPILED),
    Case("14B", "dmd2", 81, 2, "three roles on one base, LoRA 64", SHARED),
    Case("1.3B", "finetune", 33, 4, "LoRA 64 on fp8 weights", (*LORA, "roles.student.weights=fp8")),
    Case("1.3B", "finetune", 33, 4, "8-bit AdamW", ("training.optimizer=adamw8bit",)),
    Case("14B", "finetune", 33, 3, "LoRA 64", LORA),
)


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/gpu"), help="a new folder for weights, data and runs")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        help="only lines, and paths of the smoke test, whose name has one of these in it",
    )
    parser.add_argument(
        "--smoke-seconds", type=float, default=90.0, help="begin no path of the smoke test after so long"
    )
    parser.add_argument("--counted", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.counted is not None:
        counted_run(Path(arguments.counted[0]), arguments.counted[1:])
        return
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py times a GPU, and this machine has none")
    smoke(arguments.folder, arguments.smoke_seconds, arguments.only)
    card = torch.cuda.get_device_name()
    print(f"{card}, torch {torch.__version__}\n")
    print("| run | first step, s | a step, s | PFLOP a step | of peak | peak memory, GiB | planned, GiB | set-up, s |")
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        if any(part in case.name for part in arguments.only):
            print(line(case, arguments.folder, card), flush=True)


def smoke(folder: Path, seconds: float, only: Sequence[str]) -> None:
    """The paths of memory and kernels that are asked for, on eight blocks of the 1.3B's width at 33 frames of 480×832."""
    made = gpu_smoke.Smoke(folder / "wan-smoke", torch.device("cuda"), 33, 480, 832)
    gpu_smoke.run(made, folder, seconds, only)


def line(case: Case, folder: Path, card: str) -> str:
    """One line of the table: the run's figures, or the last that it said."""
    model, data = folder / f"wan-{case.size}", folder / f"clips-{case.frames}"
    if not model.exists():
        make_pipeline(model, SIZES[case.size], torch.device("cuda"))
        torch.cuda.empty_cache()
    if not data.exists():
        make_data(data, case.frames, 480, 832)
    run = folder / case.folder
    run.mkdir(parents=True)
    (run / "run.yaml").write_text(write_yaml(run_yaml(case, model, data, run / "run")), encoding="utf-8")
    planned = subprocess.Popen(
        distill_command("plan", run / "run.yaml", case, "--json"), stdout=subprocess.PIPE, text=True
    )
    command = [sys.executable, "-m", "benchmarks.gpu", "--counted", str(run / "run.yaml"), *case.overrides]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wall = time.monotonic() - started
    metrics = run / "run" / "metrics.jsonl"
    if done.returncode or not metrics.exists():
        return f"| {case.name} | failed: {' / '.join(done.stderr.strip().splitlines()[-6:])} |"
    lines = [json.loads(text) for text in metrics.read_text(encoding="utf-8").splitlines()]
    ends = [figures["step"] / figures["steps_per_second"] for figures in lines]
    a_step = (ends[-1] - ends[0]) / (lines[-1]["step"] - lines[0]["step"])
    counted = folder / case.operations
    operations = float(counted.read_text(encoding="utf-8")) / case.steps if counted.exists() else 0.0
    peak = next((peak for name, peak in PEAKS.items() if name in card), None)
    share = f"{operations / a_step / peak:.0%}" if peak and operations else "–"
    memory = max(figures["peak_memory_gib"] for figures in lines)
    plan = planned.communicate()[0]
    expected = f"{json.loads(plan)['peak'] / 2**30:.1f}" if planned.returncode == 0 else "–"
    return (
        f"| {case.name} | {ends[0]:.1f} | {a_step:.2f} | {operations / 1e15:.2f} | {share} | {memory:.1f} | {expected} "
        f"| {wall - ends[-1]:.0f} |"
    )


def distill_command(name: str, run: Path, case: Case, *options: str) -> list[str]:
    """A command of distill on the case's run."""
    code = "from distill_core.cli import main; main()"
    return [sys.executable, "-c", code, name, str(run), *case.overrides, *options]


def run_yaml(case: Case, model: Path, data: Path, output: Path) -> dict[str, object]:
    """A run of the case: the defaults, but that nothing is saved before the end and everything is logged."""
    roles = {name: {"path": str(model), "trainable": name != "teacher"} for name in METHODS[case.method]}
    options = {} if case.method == "finetune" else {"generator_update_interval": 1}
    return {
        "recipe": {"family": "wan", "method": case.method},
        "roles": roles,
        "data": {"path": str(data)},
        "training": {"max_train_steps": case.steps, "enable_gradient_checkpointing_type": "full"},
        "method_config": options,
        "output_dir": str(output),
        "tracking": {"log_interval": 1, "trackers": []},
    }


class Operations(TorchDispatchMode):
    """Counts floating-point operations by torch's own formulas. (``FlopCounterMode`` follows modules too, and by that keeps what recompute
    would let go.)"""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation."""
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def counted_run(run: Path, overrides: Sequence[str]) -> None:
    """``distill run`` of a file in this process, up to where it would save; how many operations it did goes beside the file."""
    operations = Operations()
    compiled = COMPILED[0] in overrides
    with nullcontext() if compiled else operations:

        def leave(*_: object) -> NoReturn:
            if not compiled:
                run.with_name("operations").write_text(str(operations.total), encoding="utf-8")
            os._exit(0)  # tens of GB to disk are no part of what is timed

        Checkpoints.save = leave
        distill(["run", str(run), *overrides])


if __name__ == "__main__":
    main()
