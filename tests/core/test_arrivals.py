"""A signal at every point of a run: how the process ends, what it says of that, and that the run which goes on loses nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.conftest import ToyWorld
from tests.core.forked import BEFORE_THE_LOCK, DONE, POINTS, distill_run, eventful, signalled

from distill_core.checkpoint import Checkpoint
from distill_core.config.document import write_yaml

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


AT_EVERY_PUSH = {
    "locking": signal.SIGINT,
    "loading": signal.SIGUSR1,
    "updating": signal.SIGHUP,
    "saving": signal.SIGINT,
    "validating": signal.SIGTERM,
    "validating after the last step": signal.SIGUSR1,
    "comparing": signal.SIGHUP,
    "closing": signal.SIGTERM,
}
"""Of all points and signals, those that the fast tests have; the others are nightly."""

ARRIVALS = [
    pytest.param(
        point,
        number,
        id=f"{point}, {number.name}",
        marks=[] if AT_EVERY_PUSH.get(point) is number else [pytest.mark.nightly],
    )
    for point in POINTS
    for number in SIGNALS
]


def started(root: Path) -> Path:
    """The run.yaml of an eventful run of the toy world below ``root``."""
    world = ToyWorld(root)
    path = root / "run.yaml"
    path.write_text(write_yaml(eventful(world)))
    return path


def final_state(run: Path) -> dict[str, Any]:
    """All that the last checkpoint holds, and the figures of the whole run without those of the clock."""
    path = run / "checkpoints" / "step-00000006"
    state = Checkpoint(path, 6).state()
    tensors = {name: torch.zeros(shape) for name, shape in state["tensors"].items()}
    Checkpoint(path, 6).load(tensors)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figures = sorted((record["step"], *sorted(name for name in record if "second" not in name)) for record in records)
    losses = [(record["step"], record["critic_loss"]) for record in records if "critic_loss" in record]
    hashes = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    validated = [record["step"] for record in records if "validation/seconds_per_clip" in record]
    return {
        "hashes": hashes,
        "numbers": {key: state[key] for key in ("updates", "data")},
        "figures": figures,
        "losses": losses,
        "validated": validated,
        "samples": sorted(str(path.relative_to(run)) for path in run.rglob("*.mp4")),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The final state of the run that nothing stops."""
    path = started(tmp_path_factory.mktemp("whole"))
    assert distill_run(path, None, lambda: None).status == 0
    state = final_state(path.parent / "run")
    assert state["validated"] == [0, 3, 6]
    return state


def ending(number: signal.Signals) -> str:
    return "interrupted" if number is signal.SIGINT else "stopped"


@pytest.mark.parametrize(("point", "number"), ARRIVALS)
def test_a_signal_anywhere_is_told_and_the_same_command_goes_on_to_the_same_end(
    tmp_path: Path, whole: dict[str, Any], point: str, number: signal.Signals
) -> None:
    path = started(tmp_path)
    run = tmp_path / "run"
    ended = distill_run(path, POINTS[point], signalled(number))
    assert "Traceback" not in ended.err
    assert ended.status == (0 if point in DONE else 128 + number), ended.err
    if point in BEFORE_THE_LOCK:
        assert not run.exists()
    else:
        reason = json.loads((run / "exit_reason.json").read_text())["reason"]
        assert reason == ("completed" if point in DONE else ending(number))
    assert not list(run.glob("checkpoints/.tmp-*"))
    again = distill_run(path, None, lambda: None)
    assert again.status == 0, again.err
    assert json.loads((run / "exit_reason.json").read_text())["reason"] == "completed"
    assert final_state(run) == whole
