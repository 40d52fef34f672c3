"""distill_core.config.cadence, and what the checks make of a method that tells its cadence beforehand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from run_yaml_specs import TURBO, TurboOptions
from tests.config.conftest import RUN, Write

from distill_core.config import checks
from distill_core.config.cadence import FAR_AHEAD, idleness, updates_of
from distill_core.config.load import load_run
from distill_core.errors import Problem


def _every_fifth(step: int) -> tuple[str, ...]:
    return ("student",) if step % 5 == 0 else ()


def _problems(write: Write, *overrides: str, every: int = 5) -> list[Problem]:
    loaded = load_run(write(RUN), overrides)
    method = replace(TURBO, roles_to_step=lambda options, step: ("student",) if step % every == 0 else ())
    return list(checks.idle(method, TurboOptions(), loaded.config, loaded.document))


@pytest.mark.parametrize(("steps", "updates"), [(4, 0), (5, 1), (9, 1), (10, 2)])
def test_updates_are_counted_over_the_steps_from_1_to_the_last(steps: int, updates: int) -> None:
    found = updates_of(_every_fifth, steps)
    assert found["student"] == updates
    assert found["teacher"] == 0


def test_a_role_that_is_stepped_is_not_idle(write: Write) -> None:
    assert _problems(write, "training.max_train_steps=5") == []


def test_a_role_that_is_never_stepped_is_named_with_the_least_number_of_steps(write: Write) -> None:
    (problem,) = _problems(write, every=12)
    assert problem == Problem(
        "training.max_train_steps",
        "role 'student' would not be trained in 10 steps; set this to at least 12, or step it more often",
        8,
    )


def test_a_role_that_is_far_from_being_stepped_has_the_other_remedy(write: Write) -> None:
    (problem,) = _problems(write, every=2 * FAR_AHEAD)
    assert problem.message == "role 'student' would not be trained in 10 steps; step it more often"


@pytest.mark.parametrize("key", ["training", "roles.student"])
def test_a_warm_up_must_end_before_the_roles_last_update(write: Write, key: str) -> None:
    assert _problems(write, f"{key}.lr_warmup_steps=1") == []
    (problem,) = _problems(write, f"{key}.lr_warmup_steps=2")
    assert problem.key == f"{key}.lr_warmup_steps"
    assert problem.message.endswith(
        "role 'student' makes 2 updates in 10 steps and would end in its warm-up; set this below 2, or train longer"
    )


def test_a_roles_own_warm_up_counts_where_it_has_one(write: Write) -> None:
    config = load_run(write(RUN), ["training.lr_warmup_steps=9", "roles.student.lr_warmup_steps=0"]).config
    assert not list(idleness(_every_fifth, Counter(student=2), ["student"], config))


def test_frozen_roles_and_methods_that_do_not_tell_are_left_to_the_build(write: Write) -> None:
    loaded = load_run(write(RUN))
    assert list(checks.idle(TURBO, TurboOptions(), loaded.config, loaded.document)) == []
    silent = replace(TURBO, roles_to_step=lambda options, step: ())
    assert [each.key for each in checks.idle(silent, TurboOptions(), loaded.config, loaded.document)] == [
        "training.max_train_steps"
    ]


def test_a_cadence_that_raises_is_a_problem_not_a_crash(write: Write) -> None:
    loaded = load_run(write(RUN))
    broken = replace(TURBO, roles_to_step=lambda options, step: ("student",)[step])
    (problem,) = checks.idle(broken, TurboOptions(), loaded.config, loaded.document)
    assert problem.key == "method_config"
    assert problem.message.startswith("the cadence of method 'turbo' raised IndexError")
    assert isinstance(problem.cause, IndexError)
