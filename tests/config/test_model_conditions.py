"""A family's say in what its folders are under a run's options, and families that cannot share a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
from run_yaml_specs import PICTURE, TURBO, PictureOptions
from tests.config.conftest import RUN, Write

from distill_core.config.load import load_run
from distill_core.config.resolve import resolve
from distill_core.errors import ConfigError, ModelFolderError
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import ModelFacts

TWO_FAMILIES = RUN.replace("trainable: false}", "trainable: false, family: film}")


def _settle(facts: ModelFacts, options: PictureOptions) -> ModelFacts:
    """Folders whose text length is the number of rows."""
    if options.tiling.rows == 7:
        raise ModelFolderError(f"pipeline_config.tiling.rows is 7, but {facts.path} was made with 2")
    return replace(facts, text_length=options.tiling.rows)


SETTLED = PluginIndex.of(models=(replace(PICTURE, settle=_settle),), methods=(TURBO,))


def test_facts_are_those_under_the_options(write: Write) -> None:
    run = resolve(load_run(write(RUN), ["pipeline_config.tiling={rows: 5}"]), SETTLED)
    assert {facts.text_length for facts in run.facts.values()} == {5}


def test_options_that_contradict_a_folder_are_a_problem_of_every_role_that_has_it(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(load_run(write(RUN), ["pipeline_config.tiling={rows: 7}"]), SETTLED)
    assert [problem.key for problem in caught.value.problems] == ["roles.student.path", "roles.teacher.path"]
    assert "rows is 7, but small was made with 2" in caught.value.problems[0].message


def test_a_role_of_another_family_that_cannot_encode_the_datas_captions_is_refused(write: Write) -> None:
    index = PluginIndex.of(models=(PICTURE, replace(PICTURE, name="film")), methods=(TURBO,))
    with pytest.raises(ConfigError) as caught:
        resolve(load_run(write(TWO_FAMILIES)), index)
    (problem,) = caught.value.problems
    assert problem.key == "roles.teacher.family"
    assert problem.line == 4
    assert "model 'film' offers no encode_condition to encode their captions itself" in problem.message


def test_a_role_of_another_family_that_can_encode_runs_beside(write: Write) -> None:
    film = replace(PICTURE, name="film", operations=PICTURE.operations | {"encode_condition"})
    index = PluginIndex.of(models=(PICTURE, film), methods=(TURBO,))
    assert set(resolve(load_run(write(TWO_FAMILIES)), index).models) == {"picture", "film"}
