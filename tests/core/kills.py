"""A run that saves at every step, killed again and again at random moments of a save: what is left must be good, and right to the bit.

``uv run python -m tests.core.kills 400`` prints how many kills there were, how many of them came within a save, and how many did harm:
an equal part of them each with saves at once and behind training: of one process, of one of two and of four, and of all of those.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tests.core.conftest import ToyWorld
from tests.core.forked import Ended, Point, distill_run, toy_run
from tests.core.ranked import launched

from distill_core.checkpoint import Checkpoint, Checkpoints
from distill_core.config.document import write_yaml
from distill_core.ranks import joined
from distill_core.tracking.events import Events

STEPS = 16
SAVES_BEFORE_A_KILL = 3
LONGEST_SAVE = 0.15
"""Seconds; a kill comes at a random moment between the start of a save and this much later."""


@dataclass(frozen=True)
class Way:
    """How a run is saved, and by how many processes.

    Attributes:
        mode: ``checkpoint.mode``.
        ranks: how many.
        killed: how many of them are killed, each at a moment of its own.
    """

    mode: str = "sync"
    ranks: int = 1
    killed: int = 1

    def __str__(self) -> str:
        return f"{self.mode}, {self.killed} of {self.ranks}"


WAYS = tuple(
    Way(mode, ranks, killed) for ranks, killed in ((1, 1), (2, 1), (2, 2), (4, 1), (4, 4)) for mode in ("sync", "async")
)


@dataclass(frozen=True)
class Storm:
    """What became of a number of kills.

    Attributes:
        kills: how many times processes were killed.
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


def run_yaml(root: Path, way: Way) -> Path:
    """A run of the toy world with an average, which saves at every step."""
    world = ToyWorld(root)
    mapping: dict[str, Any] = world.mapping(
        "finetune",
        training={"max_train_steps": STEPS, "train_batch_size": 4},
        checkpoint={"interval": 1, "keep_last": STEPS, "mode": way.mode},
        tracking={"log_interval": 1},
        distributed={"timeout": 20.0},
    )
    mapping["roles"]["student"]["ema"] = {"decay": 0.9}
    path = root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    return path


def processes(path: Path, way: Way, acts: Mapping[int, Callable[[], None]], at: Point | None = None) -> list[Ended]:
    """The run, and how each of its processes ended; some of them, by rank, act when they get to a point."""
    if way.ranks == 1:
        return [distill_run(path, at, acts.get(0, _idle))]
    joined._FAREWELL = (
        1.0  # what a first rank waits for one that was killed, which is what most of the time would go by with
    )

    def work(rank: int) -> None:
        """As one of them."""
        toy_run(path, at if rank in acts else None, acts.get(rank, _idle))

    return launched(way.ranks, work, path.parent).ended()


def _idle() -> None:
    """Nothing to do at a point."""


def unharmed(root: Path, way: Way) -> dict[str, str]:
    """The state at every step of the run that nothing kills, by the checkpoint's name."""
    path = run_yaml(root, way)
    for ended in processes(path, way, {}):
        assert ended.status == 0, ended.err
    return {place.name: state_of(place) for place in (root / "run" / "checkpoints").glob("step-*")}


def killer(seconds: float, root: Path) -> None:
    """Kill this process so much later, wherever it is by then; a file says whether something unpublished lay about."""

    def kill() -> None:
        time.sleep(seconds)
        if list((root / "run" / "checkpoints").glob(".tmp-*")):
            (root / "within").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


def storm(root: Path, right: Mapping[str, str], kills: int, seed: int, way: Way) -> Storm:
    """Kill one run so often, a new one where it got to its end, and look at what is left each time."""
    chance = random.Random(seed)
    within, bad, done, runs = 0, list[str](), 0, 0
    path: Path | None = None
    while done < kills:
        if path is None:
            runs += 1
            path = run_yaml(root / f"run-{runs}", way)
        at = Point(Checkpoints, "save", nth=chance.randint(1, SAVES_BEFORE_A_KILL))
        victims = chance.sample(range(way.ranks), way.killed)
        ended = processes(
            path, way, {rank: partial(killer, chance.uniform(0.0, LONGEST_SAVE), path.parent) for rank in victims}, at
        )
        first = ended[victims[0]]
        if first.status == -signal.SIGKILL:
            done += 1
            within += (path.parent / "within").exists()
            (path.parent / "within").unlink(missing_ok=True)
        elif first.status and way.killed == 1:
            bad.append(f"exit status {first.status}: {first.err[-300:]}")
        bad += harm(path.parent / "run" / "checkpoints", right)
        if first.status == 0:
            path = None
        print(f"{way}: {done} of {kills} kills, {within} within a save, {len(bad)} bad", file=sys.stderr)
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


def main(kills: int, ways: Sequence[Way] = WAYS) -> None:
    """Print the figures."""
    for way in ways:
        with TemporaryDirectory() as folder:
            began = time.monotonic()
            found = storm(Path(folder), unharmed(Path(folder) / "whole", way), kills // len(ways), 0, way)
        print(
            f"{way} killed: {found.kills} kills, {found.within} within a save, {len(found.bad)} bad, {time.monotonic() - began:.0f} s",
            *found.bad,
            sep="\n",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), [way for way in WAYS if sys.argv[2:] in ([], [str(way)])])
