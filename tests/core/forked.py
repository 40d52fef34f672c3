"""The command line in a forked process, which sends itself a signal at a chosen point of a run: no import is paid twice."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import torch
from tests.core.conftest import INDEX

from distill_core.checkpoint import Checkpoints, saving
from distill_core.cli import main, run
from distill_core.plugins import discovery, kept_index
from distill_core.running import build, preparation
from distill_core.running.run_directory import RunDirectory
from distill_core.testing.toy import ToyAdapter, ToyModel
from distill_core.tracking import JsonlTracker, Trackers
from distill_core.training.optimization import RoleOptimizer


@dataclass(frozen=True)
class Point:
    """A point of a run: the ``nth`` call of a function, and the later ones too, before or after it has done its work."""

    owner: Any
    name: str
    nth: int = 1
    after: bool = False
    again: bool = False


POINTS: Mapping[str, Point] = {
    "starting": Point(kept_index, "installed"),
    "checking": Point(preparation, "prepare_found"),
    "locking": Point(RunDirectory, "locked", after=True),
    "opening": Point(RunDirectory, "open"),
    "loading": Point(ToyModel, "load_modules", nth=2),
    "resuming": Point(Checkpoints, "resume"),
    "opening the trackers": Point(build, "open_trackers", after=True),
    "validating at the start": Point(ToyAdapter, "decode_latents", nth=1),
    "reading": Point(ToyAdapter, "prepare_condition", nth=3),
    "predicting": Point(ToyAdapter, "predict", nth=12),
    "updating": Point(RoleOptimizer, "step", nth=3),
    "logging": Point(JsonlTracker, "log", nth=3),
    "saving": Point(saving, "save_tensors"),
    "validating": Point(ToyAdapter, "decode_latents", nth=3),
    "validating after the last step": Point(ToyAdapter, "decode_latents", nth=6),
    "comparing": Point(ToyAdapter, "decode_latents", nth=8),
    "closing": Point(Trackers, "finish"),
    "the last line": Point(run, "_print_outcome"),
}
"""Where a signal may come, by what is going on there, for :func:`eventful`."""

BEFORE_THE_LOCK = ("starting", "checking")
DONE = ("closing", "the last line")


def eventful(world: Any, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A run of six steps in which everything happens: two validations of two clips and one at the start, a comparison, saves."""
    settings: dict[str, Mapping[str, Any]] = {
        "training": {"max_train_steps": 6},
        "checkpoint": {"interval": 4, "keep_last": 9},
        "tracking": {"log_interval": 1},
        "validation": {"interval": 3, "at_start": True, "max_prompts": 2},
        "comparison": {"rows": {"student": {"role": "student", "steps": 2}}, "max_prompts": 2},
        **sections,
    }
    mapping: dict[str, Any] = world.mapping("dmd2", **settings)
    return mapping


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, or minus the signal that killed it, and what it wrote to stderr."""

    status: int
    err: str


def forked(work: Callable[[], None], log: Path) -> Ended:
    """Do ``work`` in a child, whose stdout and stderr go to ``log``."""
    return ending(begun(work, log), log)


def begun(work: Callable[[], None], log: Path) -> int:
    """The child that does ``work``. What torch imports with the first step of an optimizer is imported before: each child would again."""
    import_module("torch._dynamo")
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        as_child(work)
    return child


def as_child(work: Callable[[], None]) -> NoReturn:
    """Do ``work`` as a process of its own does, in one that has been forked."""
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # torch makes its pool of threads anew in a child when it is first asked for: two threads of autograd at once, and it aborts.
    torch.set_num_threads(torch.get_num_threads())
    status = 70
    try:
        work()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:  # noqa: BLE001  shown, and seen by the test as a traceback
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):  # a terminal that is gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def ending(child: int, log: Path) -> Ended:
    """How a child ends, once it has."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Ended(status, log.read_text(encoding="utf-8"))


def distill_run(path: Path, at: Point | None, act: Callable[[], None]) -> Ended:
    """``distill run`` with the toy plugins in a child, which does ``act`` when it gets to a point."""
    return forked(lambda: toy_run(path, at, act), path.with_suffix(".log"))


def toy_run(path: Path, at: Point | None, act: Callable[[], None], *more: str) -> None:
    """``distill run``, with ``more`` arguments, and the toy plugins, in a process that is to end with it."""
    discovery.discover = kept_index.installed = lambda: INDEX
    if at is not None:
        _interpose(at, act)
    main(["run", str(path), *more])


def signalled(number: signal.Signals, times: int = 1) -> Callable[[], None]:
    """Sends this process a signal."""

    def act() -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    return act


def _interpose(point: Point, act: Callable[[], None]) -> None:
    """Let a function of the code do something more."""
    original = getattr(point.owner, point.name)
    calls = 0

    def instead(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        here = calls == point.nth or (point.again and calls > point.nth)
        if here and not point.after:
            act()
        result = original(*arguments, **named)
        if here and point.after:
            act()
        return result

    setattr(point.owner, point.name, instead)


__all__ = [
    "BEFORE_THE_LOCK",
    "DONE",
    "POINTS",
    "Ended",
    "Point",
    "as_child",
    "begun",
    "distill_run",
    "ending",
    "eventful",
    "forked",
    "signalled",
    "toy_run",
]
