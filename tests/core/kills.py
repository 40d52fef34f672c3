"""A run that saves at every step, killed again and again at random moments of a save: what is left must be good, and right to the bit.

``uv run python -m tests.core.kills 400`` prints how many kills there were, how many of them came within a save, and how many did harm.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tests.core.conftest import ToyWorld
from tests.core.forked import Point, distill_run

from distill_core.checkpoint import Checkpoint, Checkpoints
from distill_core.config.document import write_yaml
from distill_core.tracking.events import Events

STEPS = 16
SAVES_BEFORE_A_KILL = 3
LONGEST_SAVE = 0.15
"""Seconds; a kill comes at a random moment between the start of a save and this much later."""


@dataclass(frozen=True)
class Storm:
    """What became of a number of kills.

    Attributes:
        kills: how many processes were killed.
        within: how many of them in the midst of a save: something unpublished lay about.
        bad: what was wrong afterwards, each in a line; nothing ever should be.
    """

    kills: int
    within: int
    bad: tuple[str, ...]


def state_of(path: Path) -> str:
    """The hash of all tensors of a checkpoint, and of the numbers that go on from there."""
    checkpoint = Checkpoint(path, int(path.name.removeprefix("step-")))
    state = checkpoint.state()
    tensors = {name: torch.zeros(shape) for name, shape in state["tensors"].items()}
    checkpoint.load(tensors)
    digest = hashlib.sha256(repr((state["updates"], state["data"]["samples"])).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def run_yaml(root: Path) -> Path:
    """A run of the toy world with an average, which saves at every step."""
    world = ToyWorld(root)
    mapping: dict[str, Any] = world.mapping(
        "finetune",
        training={"max_train_steps": STEPS},
        checkpoint={"interval": 1, "keep_last": STEPS},
        tracking={"log_interval": 1},
    )
    mapping["roles"]["student"]["ema"] = {"decay": 0.9}
    path = root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    return path


def unharmed(root: Path) -> dict[str, str]:
    """The state at every step of the run that nothing kills, by the checkpoint's name."""
    path = run_yaml(root)
    ended = distill_run(path, None, lambda: None)
    assert ended.status == 0, ended.err
    return {place.name: state_of(place) for place in (root / "run" / "checkpoints").glob("step-*")}


def killer(seconds: float) -> None:
    """Kill this process so much later, wherever it is by then."""

    def kill() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


def storm(root: Path, right: Mapping[str, str], kills: int, seed: int) -> Storm:
    """Kill one run so often, a new one where it got to its end, and look at what is left each time."""
    chance = random.Random(seed)
    within, bad, done, runs = 0, list[str](), 0, 0
    path: Path | None = None
    while done < kills:
        if path is None:
            runs += 1
            path = run_yaml(root / f"run-{runs}")
        delay, nth = chance.uniform(0.0, LONGEST_SAVE), chance.randint(1, SAVES_BEFORE_A_KILL)
        ended = distill_run(path, Point(Checkpoints, "save", nth=nth), lambda: killer(delay))  # noqa: B023  called before delay changes
        checkpoints = path.parent / "run" / "checkpoints"
        if ended.status == -signal.SIGKILL:
            done += 1
            within += bool(list(checkpoints.glob(".tmp-*")))
        elif ended.status:
            bad.append(f"exit status {ended.status}: {ended.err[-300:]}")
        bad += harm(checkpoints, right)
        if ended.status == 0:
            path = None
    return Storm(done, within, tuple(bad))


def harm(checkpoints: Path, right: Mapping[str, str]) -> list[str]:
    """What is wrong with the checkpoints that a kill left: one that is damaged, or whose state is another than without kills."""
    wrong = [
        f"{each.path}: {each.faults()}"
        for each in Checkpoints(checkpoints, Events(None), keep_last=1).published()
        if each.faults()
    ]
    newest = max(checkpoints.glob("step-*"), default=None)
    if newest is not None and not wrong and state_of(newest) != right[newest.name]:
        wrong.append(f"{newest}: another state than without kills")
    return wrong


def main(kills: int) -> None:
    """Print the figures."""
    with TemporaryDirectory() as folder:
        began = time.monotonic()
        found = storm(Path(folder), unharmed(Path(folder) / "whole"), kills, seed=0)
    print(f"{found.kills} kills, {found.within} within a save, {len(found.bad)} bad, {time.monotonic() - began:.0f} s")
    print(*found.bad, sep="\n", end="")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]))
