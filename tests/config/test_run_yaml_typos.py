"""Fault K1: a typo in any key of a run.yaml, in the file or in an override, is refused with its path and line, and answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_yaml_specs import INDEX
from tests.config.conftest import RUN, Write

from distill_core.config.document import KeyPath, dotted, read_document, write_yaml
from distill_core.config.load import load_run
from distill_core.config.resolve import open_run, resolve
from distill_core.config.schema import Optimization, RunConfig, Training
from distill_core.config.shape import shape_of
from distill_core.errors import ConfigError, Problem

USER_CHOSEN = {("roles",), ("comparison", "rows")}
"""Mappings whose keys are names of the user's."""


def _full_run(path: Path) -> str:
    """A run.yaml that has every key there is."""
    shared = Training(max_train_steps=10).model_dump(mode="json", include=set(Optimization.model_fields))
    own = [f"roles.student.{key}={json.dumps(value)}" for key, value in shared.items()]
    overrides = [
        *own,
        "roles.student.ema={}",
        "roles.student.checkpoint={run: first}",
        "roles.student.lora={}",
        "roles.judge={path: small, trainable: false}",
        "comparison={rows: {student: {role: student}}}",
    ]
    return write_yaml(resolve(load_run(path, overrides), INDEX).to_mapping())


def _keys(data: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*path, key)
            yield from _keys(value, (*path, key))


def _typos(key: str, siblings: set[str]) -> list[str]:
    """One edit each: a letter left out, doubled, swapped with the next, replaced; spread over the word."""
    third, middle = len(key) // 3, len(key) // 2
    edits = [
        key[:middle] + key[middle + 1 :],
        key[:-1],
        key[:third] + key[third] + key[third:],
        key[:third] + key[third + 1 : third + 2] + key[third] + key[third + 2 :],
        key[:middle] + "q" + key[middle + 1 :],
    ]
    return [edit for edit in dict.fromkeys(edits) if edit and edit != key and edit not in siblings]


def _problems(path: Path, *overrides: str) -> dict[str, Problem]:
    """The problems of a run by key."""
    with pytest.raises(ConfigError) as caught:
        open_run(path, overrides, INDEX)
    return {problem.key: problem for problem in caught.value.problems}


def _is_answered(problem: Problem, key: str) -> bool:
    return f"did you mean `{key}`?" in problem.message


def _siblings(keys: list[KeyPath], path: KeyPath) -> set[str]:
    return {str(other[-1]) for other in keys if other[:-1] == path[:-1]}


def test_the_full_run_has_every_key_of_the_schema(write: Write) -> None:
    known = {
        dotted(path).replace("student", "<name>") for path in _keys(read_document(_full_run(write(RUN)), "x").data)
    }
    sections = shape_of(RunConfig).sections()
    assert {f"{section}.{key}".removeprefix(".") for section, shape in sections for key in shape.properties} <= known


def _batches(data: object, path: KeyPath = ()) -> Iterator[list[KeyPath]]:
    """Keys to misspell together: the plain values of one mapping; a mapping's own key by itself, for it hides what is below."""
    if not isinstance(data, dict):
        return
    yield [(*path, key) for key, value in data.items() if not isinstance(value, dict)]
    for key, value in data.items():
        if isinstance(value, dict):
            yield [(*path, key)]
            yield from _batches(value, (*path, key))


def test_every_typo_in_the_file_is_refused_with_path_and_line_and_nearly_all_are_answered(write: Write) -> None:
    text = _full_run(write(RUN))
    document = read_document(text, "x")
    keys = list(_keys(document.data))
    answered: dict[str, bool] = {}
    for batch in _batches(document.data):
        lines = text.split("\n")
        wrong: dict[str, tuple[str, int]] = {}
        for number, path in enumerate(path for path in batch if path[:-1] not in USER_CHOSEN):
            key, line, typos = str(path[-1]), document.line(path), _typos(str(path[-1]), _siblings(keys, path))
            assert line is not None
            typo = typos[number % len(typos)]
            lines[line - 1] = lines[line - 1].replace(f"{key}:", f"{typo}:", 1)
            wrong[dotted((*path[:-1], typo))] = (key, line)
        problems = _problems(write("\n".join(lines))) if wrong else {}
        for name, (key, line) in wrong.items():
            assert problems[name].line == line, name
            answered[name] = _is_answered(problems[name], key)
    assert len(answered) > 100
    assert sum(answered.values()) >= 0.95 * len(answered), [name for name, right in answered.items() if not right]


def test_every_typo_in_an_override_is_refused_by_name_and_nearly_all_are_answered(write: Write) -> None:
    path = write(RUN)
    keys = [key for key in _keys(read_document(_full_run(path), "x").data) if key[:-1] not in USER_CHOSEN]
    answered: dict[str, bool] = {}
    overrides: dict[str, tuple[str, str]] = {}
    for key in keys:
        for typo in _typos(str(key[-1]), _siblings(keys, key)):
            wrong = dotted((*key[:-1], typo))
            overrides[wrong] = (f"{wrong}=3", str(key[-1]))
    problems = _problems(path, *(override for override, _ in overrides.values()))
    for wrong, (override, right) in overrides.items():
        assert problems[wrong].message.startswith(f"override '{override}': unknown key"), wrong
        answered[wrong] = _is_answered(problems[wrong], right)
    assert len(answered) > 400
    assert sum(answered.values()) >= 0.95 * len(answered), [wrong for wrong, right in answered.items() if not right]
