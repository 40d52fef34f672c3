"""Runs that raise rewards are planned with stand-ins: the plan's rows have captions that no reward knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["nft", "reward-gradient"])
def test_a_run_that_raises_a_reward_is_planned(
    distill: Command,  # noqa: F811
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    planned = distill("plan", f"examples/shapes/{name}.yaml", "training.train_batch_size=1")
    assert planned.code == 0, planned.err
    assert "a step:" in planned.out
