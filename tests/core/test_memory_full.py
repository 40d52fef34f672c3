"""Memory that ran out, in whoever's code: one line with what was asked for and the remedy, no plugin blamed, no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.core.conftest import ToyWorld

from distill_core.cli.leaving import leaving
from distill_core.data.encoding.wall import Wall
from distill_core.errors import MemoryFullError
from distill_core.memory_full import ran_out
from distill_core.plugins.border import plugin_border
from distill_core.testing.toy import ToyAdapter
from distill_core.training.optimization import RoleOptimizer

CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.25 GiB is free. "
    "Including non-PyTorch memory, this process has 77.80 GiB memory in use. If reserved but unallocated memory is large try …"
)


def torch_on_the_host() -> None:
    """More than any machine has."""
    torch.empty(10**15)


def numpy_on_the_host() -> None:
    """The same."""
    np.empty(10**15)


def a_device() -> None:
    """What torch raises where there is one."""
    raise torch.OutOfMemoryError(CUDA)


WORDS = {
    torch_on_the_host: "can't allocate memory: you tried to allocate 4000000000000000 bytes",
    numpy_on_the_host: "Unable to allocate 7.11 PiB for an array with shape (1000000000000000,) and data type float64",
    a_device: "Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.25 GiB is free",
}


@pytest.mark.parametrize("taking", WORDS)
def test_what_ran_out_is_told_with_what_was_asked_for(taking: Callable[[], None]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as raised, plugin_border():
        taking()
    assert ran_out(raised.value) == WORDS[taking]
    assert ran_out(RuntimeError("shapes do not match")) is None
    assert ran_out(MemoryError()) == "the host has no more"


@pytest.mark.parametrize("place", [(ToyAdapter, "predict"), (RoleOptimizer, "norm"), (RoleOptimizer, "step")])
@pytest.mark.parametrize("taking", [torch_on_the_host, a_device])
def test_a_run_whose_memory_runs_out_names_the_command_that_plans_it_and_blames_no_plugin(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str], taking: Callable[[], None]
) -> None:
    monkeypatch.setattr(*place, lambda *_, **__: taking())
    with pytest.raises(MemoryFullError) as refused:
        world.train(world.mapping("finetune"))
    told = f"out of memory: {WORDS[taking]}; `distill plan RUN.yaml` says what the run needs, and the cheapest changes that make it fit"
    assert str(refused.value) == f"{told}; DISTILL_TRACEBACK=1 shows where"
    ended = json.loads((world.root / "run" / "exit_reason.json").read_text())
    assert ended["message"] == str(refused.value)


@pytest.mark.parametrize("taking", WORDS)
def test_any_command_whose_memory_runs_out_ends_with_a_line_and_a_status_of_its_own(
    taking: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left, leaving():
        taking()
    assert left.value.code == 71
    assert capsys.readouterr().err == (
        f"error: out of memory: {WORDS[taking]}; ask for less at once: a smaller batch, fewer or smaller clips; "
        "DISTILL_TRACEBACK=1 shows where\n"
    )


def test_a_clip_that_memory_does_not_suffice_for_is_skipped_with_the_remedy(world: ToyWorld) -> None:
    with Wall(world.root / "clip.mp4") as wall:
        torch_on_the_host()
    assert (
        wall.reason
        == "it needs more memory than there is; ask for fewer frames with --num-frames, or for a smaller size"
    )
