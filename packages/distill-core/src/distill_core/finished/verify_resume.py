"""Whether a run goes on exactly: K steps, a stop, a resume and K steps more, against 2 K steps without a stop, on the user's own machine.

Each part is a process of its own, as in life. Compared is all that a checkpoint holds, to the bit, after K and after 2 K steps: the first
tells a machine that computes the same steps differently from a resume that loses something.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from distill_core.checkpoint import Checkpoint
from distill_core.checkpoint.tensors import read_tensors
from distill_core.config.load import load_run
from distill_core.errors import ConfigError, DistillError, Problem

Rehearse = Callable[[Path, int, Sequence[str]], None]
"""Trains a run.yaml up to and with a step, under overrides."""
Say = Callable[[str], None]

LEFTOVER = ".verify-resume-"
"""How the folder that the command works in begins; the number of its process follows."""
BARE = (
    "checkpoint.resume=auto",
    "checkpoint.accept=[]",
    "checkpoint.keep_last=2",
    "validation.interval=null",
    "validation.at_start=false",
    "comparison=null",
    "tracking.trackers=[]",
)
"""What is left out of the run: none of it has a part in its state."""
UNSTEADY = (
    "two runs from the same start differ before any resume: this machine does not compute a step twice alike. Likely causes: kernels that "
    "add in any order (index_add, scatter_add, an attention's backward pass, atomics), cuDNN that chooses by timing "
    "(torch.backends.cudnn.benchmark), a plugin that draws from the clock or from a random state of its own"
)
FORGETFUL = (
    "the runs agree where the one was stopped, and not after it went on: something that no checkpoint holds has a part in a step. Likely "
    "causes: a buffer that is not persistent, a counter or a random state of a plugin's own, data that were read in another order"
)


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        steps: K.
        tensors: how many tensors were compared.
        difference: the first state that differs, and where; None if all are equal to the bit.
        cause: what that says.
    """

    steps: int
    tensors: int
    difference: str | None = None
    cause: str = ""


def verify_resume(
    path: Path, steps: int, overrides: Sequence[str], say: Say, rehearse: Rehearse | None = None
) -> Verdict:
    """Train 4 K steps in all, in a folder that is removed again. Raises ConfigError for a run shorter than 2 K, or DistillError."""
    config = load_run(path, overrides).config
    if 2 * steps > config.training.max_train_steps:
        message = (
            f"2 · {steps} steps are more than the run's {config.training.max_train_steps} (training.max_train_steps)"
        )
        raise ConfigError([Problem("--steps", message)], "distill verify-resume")
    train = in_a_process if rehearse is None else rehearse
    place = Path(config.output_dir).expanduser().absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    sweep(place)
    with TemporaryDirectory(prefix=f"{LEFTOVER}{os.getpid()}-", dir=place) as folder:
        whole, cut = Path(folder, "whole"), Path(folder, "cut")
        for root, until, doing in (
            (whole, 2 * steps, f"training {2 * steps} steps without a stop"),
            (cut, steps, f"training {steps} steps, and stopping"),
            (cut, 2 * steps, f"going on to step {2 * steps}"),
        ):
            say(doing)
            here = (f"output_dir={json.dumps(str(root))}", f"checkpoint.interval={steps}", *BARE)
            train(path, until, (*overrides, *here))
        return _compared(whole, cut, steps)


def sweep(place: Path) -> None:
    """Remove what killed processes of this command left in a folder; what a living one works in stays."""
    for folder in place.glob(f"{LEFTOVER}*"):
        number = folder.name.removeprefix(LEFTOVER).partition("-")[0]
        if number.isdecimal() and not folder.is_symlink() and not _lives(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def in_a_process(path: Path, until: int, overrides: Sequence[str]) -> None:
    """Rehearse in a process of its own, with the same Python and environment. Raises DistillError with what it said if it fails."""
    command = [sys.executable, "-m", "distill_core", "rehearse", str(path), str(until), *overrides]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise RehearsalError(f"the run itself failed, with exit status {done.returncode}:\n{last}")


class RehearsalError(DistillError):
    """A run that was to be compared did not get so far."""


def _compared(whole: Path, cut: Path, steps: int) -> Verdict:
    tensors = 0
    for step, cause in ((steps, UNSTEADY), (2 * steps, FORGETFUL)):
        name = f"step-{step:08d}"
        one, other = (Checkpoint(root / "checkpoints" / name, step) for root in (whole, cut))
        tensors = len(one.state()["tensors"])
        difference = _difference(one, other)
        if difference is not None:
            return Verdict(steps, tensors, f"after step {step}: {difference}", cause)
    return Verdict(steps, tensors)


def _difference(one: Checkpoint, other: Checkpoint) -> str | None:
    """The first state of two checkpoints that differs; None if none does."""
    there, here = one.state(), other.state()
    if there != here:
        return _of_numbers(there, here)
    files = [checkpoint.manifest().files for checkpoint in (one, other)]
    shards = [{name: record for name, record in each.items() if name.endswith(".distcp")} for each in files]
    if shards[0] == shards[1]:
        return None
    left, right = read_tensors(one.path / "dcp"), read_tensors(other.path / "dcp")
    differing = [name for name in there["tensors"] if not _equal(left[name], right[name])]
    if not differing:
        return None
    first = differing[0]
    far = (left[first].double() - right[first].double()).abs().max().item()
    return f"{first} (by up to {far:.3g}; {len(differing)} of {len(left)} tensors differ)"


def _equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    """To the bit: NaN is equal to the same NaN, 0 is not -0."""
    return left.dtype == right.dtype and torch.equal(
        left.flatten().view(torch.uint8), right.flatten().view(torch.uint8)
    )


def _of_numbers(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The first number that differs."""
    key = next(key for key in (*there, *here) if there.get(key) != here.get(key))
    return f"{key}: {there.get(key)!r} without a stop, {here.get(key)!r} with one"
