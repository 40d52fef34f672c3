"""What a role recomputes, as its run.yaml says it or the run's."""

from __future__ import annotations

from typing import Any

import pytest

from distill_core.config.recomputation import Recomputation, recomputation_of
from distill_core.config.schema import RunConfig


@pytest.mark.parametrize(
    ("training", "role", "expected"),
    [
        ({}, {}, None),
        ({"enable_gradient_checkpointing_type": "full"}, {}, Recomputation()),
        ({"enable_gradient_checkpointing_type": "full"}, {"recompute": "none"}, None),
        ({"enable_gradient_checkpointing_type": "selective", "recompute_every": 3}, {}, Recomputation(True, 3)),
        ({"recompute_every": 3}, {"recompute": "full"}, Recomputation(False, 3)),
        ({"recompute_every": 3}, {"recompute": "full", "recompute_every": 1}, Recomputation()),
    ],
)
def test_a_role_recomputes_what_it_says_and_else_what_the_run_says(
    training: dict[str, Any], role: dict[str, Any], expected: Recomputation | None
) -> None:
    run = {
        "recipe": {"family": "f", "method": "m"},
        "roles": {"a": role},
        "data": {"path": "d"},
        "training": {"max_train_steps": 1, **training},
        "output_dir": "o",
    }
    assert recomputation_of(RunConfig.model_validate(run), "a") == expected
