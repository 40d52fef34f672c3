"""distill_core.config.folders: what is said of a role's folder that is something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import run_yaml_specs
from run_yaml_specs import PICTURE, TURBO
from tests.config.conftest import RUN, Write
from tests.config.resolving import the_problem_of

from distill_core.config.load import load_run
from distill_core.config.resolve import resolve
from distill_core.errors import ConfigError, ForeignPipelineError
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import ModelFacts


def test_a_folder_of_another_family_is_refused_with_that_family_and_the_key_that_names_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> ModelFacts:
        what = f"{path} is a pipeline of class Toys"
        raise ForeignPipelineError(what, what)

    monkeypatch.setattr(run_yaml_specs, "send_on", refuse, raising=False)
    sends_on = replace(PICTURE, name="sends-on", inspect="run_yaml_specs:send_on")
    index = PluginIndex.of(models=[PICTURE, sends_on], methods=[TURBO])

    def said(text: str) -> list[tuple[str, str]]:
        with pytest.raises(ConfigError) as caught:
            resolve(load_run(write(text)), index)
        return [(problem.key, problem.message) for problem in caught.value.problems]

    of_run = said(RUN.replace("family: picture", "family: sends-on"))
    remedy = "small is a pipeline of class Toys; picture would take it: set {}: picture, or name another folder"
    assert of_run == [(f"roles.{role}.path", remedy.format("recipe.family")) for role in ("student", "teacher")]
    of_role = said(RUN.replace("teacher: {path: small,", "teacher: {family: sends-on, path: small,"))
    assert ("roles.teacher.path", remedy.format("roles.teacher.family")) in of_role


def test_a_wrong_folder_is_told_at_the_role_that_names_it_and_not_at_those_that_share_it(
    write: Write, tmp_path: Path
) -> None:
    shared = RUN.replace("teacher: {path: small,", "teacher: {base: student,").replace(
        "student: {path: small}", "student: {path: small, lora: {}}"
    )
    assert shared.count("small") == 1
    index = PluginIndex.of(models=[PICTURE], methods=[TURBO])
    with pytest.raises(ConfigError) as caught:
        resolve(load_run(write(shared), [f"roles.student.path={tmp_path / 'gone'}"]), index)
    assert [problem.key for problem in caught.value.problems if "gone" in problem.message] == ["roles.student.path"]


@pytest.mark.parametrize("below", [".", "checkpoints/step-00000100"])
def test_a_run_in_the_place_of_a_model_is_refused_with_the_ways_to_go_on_from_it(
    write: Write, tmp_path: Path, below: str
) -> None:
    run = tmp_path / "run"
    (run / below).mkdir(parents=True)
    (run / "resolved.yaml").touch()
    problem = the_problem_of(write(RUN), f"roles.student.path={run / below}")
    assert problem.key == "roles.student.path"
    assert f"{run} is a run, and no model: name what `distill export` makes of it" in problem.message
    assert problem.message.endswith(f"and roles.student.checkpoint.run: {run}")
