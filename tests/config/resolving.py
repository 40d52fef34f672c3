"""Resolving a run.yaml file in a test: the run that it makes, or what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_yaml_specs import INDEX

from distill_core.config.load import load_run
from distill_core.config.resolve import ResolvedRun, resolve
from distill_core.errors import ConfigError, Problem


def resolved(path: Path, *overrides: str) -> ResolvedRun:
    return resolve(load_run(path, overrides), INDEX)


def problems_of(path: Path, *overrides: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        resolved(path, *overrides)
    assert caught.value.source == str(path)
    return caught.value.problems


def the_problem_of(path: Path, *overrides: str) -> Problem:
    problems = problems_of(path, *overrides)
    assert len(problems) == 1, problems
    return problems[0]
