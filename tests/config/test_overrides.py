"""distill_core.config.overrides: an override that a later one undoes is told; the last one counts."""

from __future__ import annotations

import pytest
from run_yaml_specs import INDEX
from tests.config.conftest import RUN, Write

from distill_core.config.load import load_run
from distill_core.config.overrides import undone
from distill_core.config.resolve import resolve
from distill_core.errors import ConfigError


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.seed=1", "training.seed=2"],
        ["roles.teacher.weights=bf16", "roles.teacher={path: small}"],
        ["roles.teacher.weights=bf16", "roles=null"],
        ["validation={interval: 5}", "validation.interval=6"],
        ["data.mix=[{path: a}]", "data.mix.0.path=b"],
        ["training.betas=[0, 0.9]", "training.betas.1=0.99"],
        ["metrics={shapes: {}}", "metrics={}"],
    ],
)
def test_what_a_later_override_undoes_is_told(overrides: list[str]) -> None:
    earlier, later = overrides
    (note,) = undone([earlier, "output_dir=elsewhere", later])
    assert note == f"override {earlier!r} is undone by override {later!r}, which comes after it"


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.seed=1", "training.seed=1"],
        ["training.seed=1", "training.seeds=2"],
        ["training={seed: 1}", "training.cpu_threads=2"],
        ["training.seed=1", "training={seed: 1, cpu_threads: 2}"],
        ["training.betas=[0, 0.9]", "training.betas.0=0"],
        ["metrics={}", "metrics.shapes={}"],
    ],
)
def test_what_no_later_override_undoes_is_not(overrides: list[str]) -> None:
    assert list(undone(overrides)) == []


def test_a_run_notes_it(write: Write) -> None:
    run = resolve(load_run(write(RUN), ["training.seed=1", "training.seed=2"]), INDEX)
    assert "override 'training.seed=1' is undone by override 'training.seed=2', which comes after it" in run.notes
    assert run.config.training.seed == 2


def test_of_three_that_set_a_key_the_first_two_are_undone_by_the_last() -> None:
    notes = list(undone(["training.seed=1", "training.seed=2", "training.seed=3"]))
    assert [note.count("'training.seed=3'") for note in notes] == [1, 1]


def test_a_secret_in_an_override_is_not_told() -> None:
    (note,) = undone(["tracking.api_key=hunter2", "tracking.api_key=hunter3"])
    assert "hunter" not in note


def test_an_override_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"write it as key\.path=value"):
        list(undone(["training.seed"]))
