"""A run's roles against what its method and its families say of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from run_yaml_specs import CALLS, PICTURE, TURBO
from tests.config.conftest import RUN, Write
from tests.config.resolving import problems_of, resolved, the_problem_of

from distill_core.config.load import load_run
from distill_core.config.resolve import resolve
from distill_core.errors import ConfigError, Problem
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import ModelFacts


def test_a_missing_role_says_how_to_add_it(write: Write) -> None:
    problem = the_problem_of(write(RUN.replace("  teacher: {path: small, trainable: false}\n", "")))
    assert (problem.key, problem.line) == ("roles.teacher", 2)
    assert (
        problem.message == "method 'turbo' needs this role; add `teacher: {path: ..., trainable: false}` under `roles`"
    )


def test_an_optional_role_may_be_there_or_not(write: Write) -> None:
    run = resolved(write(RUN), "roles.judge={path: small, trainable: false}")
    assert list(run.facts) == ["student", "teacher", "judge"]


def test_a_superfluous_role_is_refused(write: Write) -> None:
    problem = the_problem_of(write(RUN), "roles.xyz.path=small")
    assert problem.key == "roles.xyz"
    assert problem.message.endswith(
        "method 'turbo' has no role 'xyz', it works with student, teacher, judge; remove it"
    )


def test_a_misspelt_role_is_one_problem_not_two(write: Write) -> None:
    problem = the_problem_of(write(RUN.replace("  teacher:", "  teachr:")))
    assert (problem.key, problem.line) == ("roles.teachr", 4)
    assert problem.message.endswith("did you mean `teacher`?")


@pytest.mark.parametrize(("role", "says", "wants"), [("student", "false", "true"), ("teacher", "true", "false")])
def test_a_trainable_flag_that_contradicts_the_method_is_refused(
    write: Write, role: str, says: str, wants: str
) -> None:
    problem = the_problem_of(write(RUN), f"roles.{role}.trainable={says}")
    assert problem.key == f"roles.{role}.trainable"
    assert problem.message.endswith(f"set trainable: {wants}")


def test_a_frozen_role_that_forgets_to_say_so_is_refused(write: Write) -> None:
    problem = the_problem_of(write(RUN.replace(", trainable: false", "")))
    assert problem == Problem(
        "roles.teacher.trainable", "method 'turbo' keeps this role frozen; set trainable: false", 4
    )


def test_optimizer_settings_of_a_frozen_role_are_refused_each_at_its_key(write: Write) -> None:
    problems = problems_of(write(RUN.replace("trainable: false", "trainable: false, learning_rate: 1, ema: {}")))
    assert [(problem.key, problem.line) for problem in problems] == [
        ("roles.teacher.learning_rate", 4), ("roles.teacher.ema", 4),
    ]  # fmt: skip
    assert problems[0].message == (
        "method 'turbo' keeps this role frozen, so nothing is optimized; remove learning_rate"
    )


def test_of_a_trained_role_said_to_be_frozen_the_flag_is_at_fault_not_its_optimizer(write: Write) -> None:
    text = RUN.replace("{path: small}", "{path: small, trainable: false, learning_rate: 1, ema: {}}")
    assert the_problem_of(write(text)) == Problem(
        "roles.student.trainable", "method 'turbo' trains this role; set trainable: true", 3
    )


def test_operations_that_a_family_does_not_offer_are_named(write: Write) -> None:
    problems = problems_of(write(RUN.replace("picture", "sketch")))
    assert {problem.key for problem in problems} == {"recipe.family"}
    assert "asks predict of role 'student', which model 'sketch' does not offer" in problems[0].message
    (asked, _) = problems_of(write(RUN), "roles.teacher.family=sketch")
    assert asked.key == "roles.teacher.family"


def test_operations_of_dense_attention_alone_are_refused_under_another(write: Write) -> None:
    """A spec of a family that has vsa, but predicts by blocks under dense attention alone."""
    film = replace(PICTURE, attention=("dense", "vsa"), operations=CALLS | {"blocks"}, dense_only=frozenset({"blocks"}))
    need = replace(TURBO.roles["student"], operations=CALLS | {"blocks"})
    index = PluginIndex.of(models=(film,), methods=(replace(TURBO, roles={**TURBO.roles, "student": need}),))
    path = write(RUN + "method_config:\n  attn_kind: vsa\n")
    with pytest.raises(ConfigError) as caught:
        resolve(load_run(path, ()), index)
    assert caught.value.problems == (
        Problem(
            "method_config.attn_kind",
            "role 'student' is asked for blocks, which model 'picture' has under dense attention alone; set method_config.attn_kind: dense",
            11,
        ),
    )
    assert resolve(load_run(path, ("method_config.attn_kind=dense",)), index).method.name == "turbo"


def test_attention_that_a_family_does_not_have_is_refused_with_the_remedy(write: Write) -> None:
    problem = the_problem_of(write(RUN + "method_config:\n  attn_kind: vsa\n"))
    assert problem == Problem(
        "method_config.attn_kind",
        "model 'picture' has no 'vsa' attention yet (it has: dense); set method_config.attn_kind: dense",
        11,
    )


def test_options_that_the_models_contradict_are_refused_at_their_key(write: Write) -> None:
    def misfits(options: object, facts: dict[str, ModelFacts]) -> Iterator[tuple[str, str]]:
        assert {"student", "teacher"} <= set(facts)
        yield "strength", f"is for models of another patch than {facts['student'].patch}; set it to 1"

    index = PluginIndex.of(models=(PICTURE,), methods=(replace(TURBO, misfits=misfits),))
    with pytest.raises(ConfigError) as caught:
        resolve(load_run(write(RUN), ()), index)
    (problem,) = caught.value.problems
    assert problem.key == "method_config.strength"
    assert problem.message.endswith("set it to 1")
