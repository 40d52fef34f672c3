"""Typos are refused before torch is imported, and a misspelt path lets nothing else be taken for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill_core.config.document import write_yaml
from distill_core.testing.toy_spec import write_toy_model

REPOSITORY = Path(__file__).parents[2]

TOY_PLUGIN = """
from distill_core.plugins import hookimpl
from distill_core.testing.toy_spec import TOY

PLUGIN_API = 2

@hookimpl
def distill_register_models(registry):
    registry.add(TOY)
"""

BOTH_WAYS = """
import contextlib, io, json, sys
from pathlib import Path
from distill_core.cli import main
from distill_core.cli.training import checked
from distill_core.errors import DistillError
from distill_core.plugins.discovery import discover
from distill_core.plugins.kept_index import KeptIndex, installed

def said(command):
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            command()
        except SystemExit as leaving:
            return told.getvalue(), leaving.code
        except DistillError as error:
            return f"error: {error}\\n", error.exit_code
    return told.getvalue(), None

texts = json.loads(sys.stdin.read())
installed()
kept, every = installed(), discover()
assert isinstance(kept, KeptIndex)
differing = []
for number, text in enumerate(texts):
    Path("run.yaml").write_text(text)
    ways = [lambda: checked(Path("run.yaml"), [], every), lambda: checked(Path("run.yaml"), [], kept)]
    if number % 10 == 0:
        ways += [lambda: main(["run", "run.yaml"]), lambda: main(["config", "check", "run.yaml"])]
        ways += [lambda: main(["run", "--", "run.yaml"]), lambda: main(["config", "check", "--", "run.yaml"])]
    found = [said(way) for way in ways]
    if len(set(found)) > 1:
        differing.append(found)
print(json.dumps(differing))
"""
"""Checks each run.yaml of a list with the plugins that it names and with all, by the commands as they start fastest and as typer has
them; prints what was not the same."""

PROGRAM = """
import json, sys
from pathlib import Path
from distill_core.cli.training import checked
from distill_core.errors import DistillError
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.testing.toy_spec import TOY
from distill_method_dmd2 import plugin

registry = Registry(MethodSpec)
plugin.distill_register_methods(registry)
index = PluginIndex.of(models=[TOY], methods=registry.specs)
told = []
for text in json.loads(sys.stdin.read()):
    Path("run.yaml").write_text(text)
    try:
        checked(Path("run.yaml"), [], index)
        told.append("nothing")
    except DistillError as error:
        told.append(str(error))
heavy = [name for name in ("torch", "pyarrow", "numpy", "av") if name in sys.modules]
print(json.dumps({"told": told, "heavy": heavy}))
"""
"""Checks each run.yaml of a list; prints what is said of them, and what has been imported."""


@pytest.fixture
def run(tmp_path: Path) -> dict[str, Any]:
    """A run that is right, but for its data, which nobody is to open: the file is no parquet."""
    names = ("student", "teacher", "critic")
    for name in names:
        write_toy_model(tmp_path / name)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clips.parquet").write_text("no parquet")
    (tmp_path / "trap.parquet").write_text("no parquet")
    return {
        "recipe": {"family": "toy", "method": "dmd2"},
        "roles": {name: {"path": name, "trainable": name != "teacher"} for name in names},
        "data": {"path": "data", "num_workers": 0},
        "training": {"max_train_steps": 12, "train_batch_size": 2, "precision": "fp32"},
        "output_dir": "run",
        "method_config": {"generator_update_interval": 5},
        "validation": {"interval": 6, "fps": 8.0},
        "checkpoint": {"interval": 4},
        "tracking": {"log_interval": 2, "project": "x"},
    }


def told(folder: Path, runs: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What is said of each run, and the heavy modules that were imported for all of them."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([write_yaml(run) for run in runs]),
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    return found["told"], found["heavy"]


def misspelt(run: dict[str, Any], most: int) -> list[tuple[str, dict[str, Any]]]:
    """The run with each of its keys misspelt in turn, in so many ways at most, and the key that is meant."""
    found: list[tuple[str, dict[str, Any]]] = []
    for key, value in run.items():
        for wrong in [edit for edit in edits(key) if edit not in run][:most]:
            found += [(key, {wrong if name == key else name: each for name, each in run.items()})]
        if isinstance(value, dict):
            found += [(meant, {**run, key: below}) for meant, below in misspelt(value, most)]
    return found


def edits(key: str) -> list[str]:
    """Two letters swapped, one left out, one doubled, replaced, too many; here and there in the word."""
    middle = len(key) // 2
    swapped = [key[:place] + key[place + 1] + key[place] + key[place + 2 :] for place in (1, middle - 1)]
    left_out = [key[:-1], key[:middle] + key[middle + 1 :]]
    more = [key[:middle] + key[middle : middle + 1] + key[middle:], f"{key}s", key[:1] + key]
    replaced = [key[:middle] + letter + key[middle + 1 :] for letter in "qz"]
    edits = [
        left_out[0],
        swapped[0],
        more[0],
        replaced[0],
        left_out[1],
        swapped[1],
        more[1],
        replaced[1],
        more[2],
        key[1:],
    ]
    return [edit for edit in dict.fromkeys(edits) if edit and edit != key]


@pytest.mark.parametrize(("ways", "least"), [(2, 55), pytest.param(10, 300, marks=pytest.mark.nightly)])
def test_every_typo_is_refused_before_torch_is_imported(
    tmp_path: Path, run: dict[str, Any], ways: int, least: int
) -> None:
    wrong = misspelt(run, ways)
    said, heavy = told(tmp_path, [each for _, each in wrong])
    assert len(wrong) >= least
    assert heavy == []
    assert "nothing" not in said
    hinted = sum(f"`{key}`" in words or f"'{key}'" in words for (key, _), words in zip(wrong, said, strict=True))
    assert hinted >= 0.95 * len(wrong)


@pytest.mark.parametrize("ways", [1, pytest.param(10, marks=pytest.mark.nightly)])
def test_a_typo_is_told_in_the_same_words_whatever_is_left_out_to_tell_it_fast(
    tmp_path: Path, run: dict[str, Any], ways: int
) -> None:
    site = tmp_path / "site"
    info = site / "acme_toy-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "acme_toy.py").write_text(TOY_PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[distill]\ntoy = acme_toy\n")
    wrong = [each for _, each in misspelt(run, ways)]
    elsewhere = [{**run, "recipe": recipe} for recipe in ({"family": "tox", "method": "dmd2"}, {"family": "dmd2"}, 3)]
    result = subprocess.run(
        [sys.executable, "-c", BOTH_WAYS],
        input=json.dumps([write_yaml(each) for each in [*wrong, *elsewhere]]),
        env={**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []


def test_a_misspelt_data_section_does_not_make_the_working_directory_the_data(
    tmp_path: Path, run: dict[str, Any]
) -> None:
    run["danta"] = run.pop("data")
    (said,), _ = told(tmp_path, [run])
    assert said.splitlines() == [f"run.yaml:{said.split(':')[1]}: danta: unknown key; did you mean `data`?"]


def test_a_section_that_lacks_its_path_is_told_so_and_nothing_of_the_working_directory(
    tmp_path: Path, run: dict[str, Any]
) -> None:
    del run["data"]["path"]
    (said,), heavy = told(tmp_path, [run])
    assert said.count("\n") == 0
    assert "data.path" in said
    assert heavy == []


def test_data_that_are_not_there_are_told_beside_a_typo(tmp_path: Path, run: dict[str, Any]) -> None:
    run["data"] = {"path": "nowhere"}
    run["training"]["train_batch_siz"] = run["training"].pop("train_batch_size")
    (said,), heavy = told(tmp_path, [run])
    assert "training.train_batch_siz: unknown key" in said
    assert "data.path: there is no file or folder" in said
    assert heavy == []
