"""One YAML on one, two and four processes: the same training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.core.conftest import ToyWorld
from tests.core.ranked import trained
from tests.core.test_training import comparable, metrics, with_ema

from distill_core.running.run_directory import RunDirectory

Mapping = dict[str, Any]


def figures(directory: Path) -> list[dict[str, Any]]:
    return comparable(metrics(RunDirectory(directory)))


@pytest.mark.parametrize("method", ["finetune", "dmd2"])
@pytest.mark.parametrize("parts", [1, 2])
def test_two_and_four_ranks_train_what_one_does(tmp_path: Path, method: str, parts: int) -> None:
    found = {}
    for size in (1, 2, 4):
        world = ToyWorld(tmp_path / str(size))
        training = {"max_train_steps": 4, "train_batch_size": 4, "gradient_accumulation_steps": parts}
        run = with_ema(world, method, training=training, tracking={"log_interval": 1})
        if method == "dmd2":
            run["method_config"] = {"generator_update_interval": 2}
        found[size] = figures(trained(world, size, run))
    for size in (2, 4):
        assert len(found[size]) == len(found[1]) == 4
        for one, several in zip(found[1], found[size], strict=True):
            assert several == pytest.approx(one, rel=1e-4), f"{size} ranks"
