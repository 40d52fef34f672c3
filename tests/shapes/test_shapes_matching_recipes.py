"""Shipped recipes at reduced size, of methods that match distributions or raise rewards: each trains, and says what it should."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.recipes import figures, run_recipe, write_clips

SAYS = {
    "dmd2": ("student_loss", "critic_loss"),
    "dmd2-2step": ("student_loss", "critic_loss"),
    "dmd2-varied": ("student_loss", "critic_loss"),
    "dmd2-lora": ("student_loss", "critic_loss"),
    "fdistill": ("student_loss", "critic_loss", "discriminator_loss", "density_ratio"),
    "sid": ("student_loss", "critic_loss", "score_gap"),
    "sgmd": ("student_loss", "critic_loss", "fisher", "correction"),
    "phased-dmd": ("student_loss_high", "critic_loss_low"),
    "nft": ("nft_loss", "reward/shapes", "reward_spread"),
    "reward-gradient": ("reward_loss", "reward/shapes"),
    "ladd": ("student_loss", "discriminator_loss"),
}
"""What a recipe's metrics have, by its name."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SAYS)
def test_a_recipe_trains_at_reduced_size(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    data = write_clips(tmp_path / "data")
    run = run_recipe(
        name,
        tmp_path / "run",
        f"data.path={data}",
        "checkpoint.interval=2",
        compare=False,
    )
    logged = figures(run)
    for wanted in SAYS[name]:
        values = [value for line in logged for key, value in line.items() if key.endswith(wanted)]
        assert values, f"{name} logs no {wanted}: {sorted(logged[-1])}"
        assert all(math.isfinite(value) for value in values)


@pytest.mark.slow
def test_the_rewarded_student_begins_as_the_varied_one_and_is_held_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    first = run_recipe("dmd2-varied", tmp_path / "varied", "checkpoint.interval=2", compare=False)
    origins = [f"roles.{role}.checkpoint={{run: {first.root}}}" for role in ("student", "reference")]
    second = run_recipe("dmd2-rewarded", tmp_path / "rewarded", *origins, "checkpoint.interval=2", compare=False)
    logged = figures(second)
    assert logged[0]["reference_distance"] == 0.0
    assert logged[-1]["reference_distance"] > 0.0
    assert all(0.0 < line["reward/shapes"] < 1.0 for line in logged)
