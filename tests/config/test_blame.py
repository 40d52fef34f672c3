"""distill_core.config.blame: errors of all kinds as faults of one run.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.config.conftest import RUN

from distill_core.config.blame import Faults, about, problems_of_error, refusal, touches
from distill_core.config.document import read_document
from distill_core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DistillError,
    ModelFolderError,
    PluginError,
    Problem,
    RunDirectoryError,
)

DOCUMENT = read_document(RUN, "run.yaml")


def _told(*errors: DistillError) -> DistillError:
    faults = Faults(DOCUMENT, "my.yaml")
    for error in errors:
        with faults.at("data", "path"):
            raise error
    with pytest.raises(DistillError) as caught:
        faults.refuse()
    return caught.value


@pytest.mark.parametrize("kind", [DataError, CheckpointError, RunDirectoryError])
def test_faults_of_one_class_keep_its_exit_status(kind: type[DistillError]) -> None:
    error = _told(kind("one"), kind("two"))
    assert type(error) is kind
    assert str(error) == "my.yaml:6: data.path: one\nmy.yaml:6: data.path: two"


def test_a_mixture_is_a_fault_of_the_run_yaml_in_the_order_of_the_file() -> None:
    about_the_teacher = ConfigError([Problem("roles.teacher", "no")])
    error = _told(RunDirectoryError("output_dir /x is a file"), DataError("broken"), about_the_teacher)
    assert type(error) is ConfigError
    assert str(error).splitlines() == [
        "my.yaml:4: roles.teacher: no", "my.yaml:6: data.path: broken", "my.yaml:9: output_dir: /x is a file",
    ]  # fmt: skip


def test_the_same_fault_found_twice_is_told_once() -> None:
    assert str(_told(DataError("broken"), DataError("broken"))) == "my.yaml:6: data.path: broken"


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("data.num_frames: 3 are too few", "data.num_frames", "3 are too few"),
        ("data.num_height makes 3 rows", "data.num_height", "makes 3 rows"),
        ("output_dir /x is a file", "output_dir", "/x is a file"),
        ("data.parquet: damaged", "data.path", "data.parquet: damaged"),
        ("data are few", "data.path", "data are few"),
    ],
)
def test_an_error_that_names_a_key_is_placed_there(text: str, key: str, message: str) -> None:
    (problem,) = problems_of_error(DataError(text), DOCUMENT, ("data", "path"))
    assert (problem.key, problem.message) == (key, message)
    assert isinstance(problem.cause, DataError)


def test_a_line_that_is_known_already_is_kept() -> None:
    problems = [Problem("data.path", "no", 3), Problem("", "nothing to show"), Problem("data.path", "no")]
    assert [problem.line for problem in problems_of_error(ConfigError(problems), DOCUMENT, ())] == [3, None, 6]


@pytest.mark.parametrize("kind", [PluginError, ModelFolderError])
def test_what_a_plugin_refuses_is_about_a_key(kind: type[DistillError]) -> None:
    with pytest.raises(ConfigError) as caught, about("roles", "teacher", "path"):
        raise kind("lacks weights")
    (problem,) = caught.value.problems
    assert (problem.key, problem.message, type(problem.cause)) == ("roles.teacher.path", "lacks weights", kind)


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), Faults(DOCUMENT, Path("x")).at("data"), about("data"):
        raise ZeroDivisionError


def test_a_fault_touches_the_keys_above_it_alone() -> None:
    problems = [Problem("data.path", "no"), Problem("training", "no")]
    assert touches(problems, "data")
    assert touches(problems, "roles", "data.path")
    assert not touches(problems, "dat", "data.path.x", "training.seed")


def test_causes_are_followed_from() -> None:
    cause = DataError("broken")
    assert refusal([Problem("data.path", "broken", cause=cause)], "x").__cause__ is cause
