"""Secrets: whatever a run tells anybody passes one gate, and only the run's own two files, which nobody else may read, hold any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from tests.config.test_secret_shapes import EXAMPLES
from tests.core.conftest import ToyWorld

from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.redaction import REDACTED
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing.toy_spec import write_toy_model
from distill_core.tracking import Trackers
from distill_core.tracking.events import Events

OPEN = "hf_abcdefghijklmnopqrstuvwxyz"
"""Of a known shape; each place adds letters of its own."""
UNKNOWN = "Zq7-unheard-of-shape-19"
"""Of no shape that anybody knows: it may stand in a comment, and comments never leave."""


def test_planted_secrets_are_in_nothing_but_the_runs_own_two_files(world: ToyWorld) -> None:
    from tests.core.conftest import INDEX

    student = write_toy_model(world.root / f"{OPEN}PATH", seed=0)
    mapping: dict[str, Any] = world.mapping(
        "finetune",
        training={"max_train_steps": 2},
        validation={"interval": 2, "prompts": [f"a {OPEN}PROMPT"]},
        comparison={"rows": {f"{OPEN}ROW": {"role": "student", "steps": 1}}, "prompts": [f"{OPEN}COMPARED"]},
        metrics={"brightness": {}},
        data={"name": f"{OPEN}NAME"},
        tracking={
            "trackers": ["wandb", "tensorboard"],
            "wandb_mode": "offline",
            "log_interval": 1,
            "run_name": f"{OPEN}RUNNAME",
            "project": f"{OPEN}PROJECT",
            "entity": f"{OPEN}ENTITY",
        },
    )
    mapping["roles"]["student"]["path"] = str(student)
    path = world.root / "run.yaml"
    path.write_text(f"# the key is {UNKNOWN}\n{write_yaml(mapping)}# {OPEN}COMMENT\n")
    plugins = [
        {
            "name": "x",
            "kind": "-",
            "package": "y",
            "version": "1",
            "status": "failed",
            "error": f"KeyError: {OPEN}PLUGIN",
        }
    ]
    directory = RunDirectory(world.root / "run")
    train(prepare(open_run(path, [f"data.name={OPEN}OVERRIDE"], INDEX)), directory, plugins, Console(quiet=True))
    own = {directory.run_yaml, directory.resolved_yaml, directory.content}
    assert all(file.stat().st_mode & 0o077 == 0 for file in own)
    assert UNKNOWN in directory.run_yaml.read_text()
    files = [file for file in directory.root.rglob("*") if file.is_file() and file not in own]
    assert len(files) > 15
    for file in files:
        content = file.read_bytes()
        assert OPEN.encode() not in content, file
        assert UNKNOWN.encode() not in content, file
        assert OPEN.replace("_", "-") not in file.name
    told = (directory.trackers / "run.yaml").read_text()
    assert f"run_name: {REDACTED}" in told
    assert "#" not in told, "comments never leave"
    assert "tracking.run_name holds what looks like a secret" in directory.events.read_text()


def test_keys_of_fifty_services_in_a_run_are_in_nothing_but_its_own_two_files(world: ToyWorld) -> None:
    """Each in a prompt, which becomes a file's name, and, by turns, in a row's name, a comment, an address, a plugin's error."""
    from tests.core.conftest import INDEX

    keys = [examples[0] for examples in EXAMPLES.values()]
    assert len(keys) >= 50
    mapping: dict[str, Any] = world.mapping(
        "finetune",
        training={"max_train_steps": 2},
        validation={"interval": 2, "prompts": [f"a {key} b" for key in keys]},
        comparison={
            "rows": {f"row {key}": {"role": "student", "steps": 1} for key in keys[::4]},
            "prompts": [f"see https://x?key={key}" for key in keys[1::4]],
        },
        data={"name": " ".join(keys[2::4])},
        tracking={"trackers": ["tensorboard"], "run_name": keys[3]},
        metrics={"brightness": {}},
    )
    path = world.root / "run.yaml"
    path.write_text("".join(f"# {key}\n" for key in keys) + write_yaml(mapping))
    failed = {"name": "x", "kind": "-", "package": "y", "version": "1", "status": "failed"}
    plugins = [{**failed, "error": f"KeyError: '{key}'"} for key in keys[3::4]]
    directory = RunDirectory(world.root / "run")
    train(prepare(open_run(path, [], INDEX)), directory, plugins, Console(quiet=True))
    own = {directory.run_yaml, directory.resolved_yaml, directory.content}
    assert all(key in directory.run_yaml.read_text() for key in keys)
    files = [file for file in directory.root.rglob("*") if file.is_file() and file not in own]
    assert len(files) > 2 * len(keys)
    left = {str(file.relative_to(directory.root)): file.read_bytes() for file in files}
    left |= {"names of files": "\n".join(left).encode()}
    found = [(name, key) for name, content in left.items() for key in keys if key.encode() in content]
    assert found == []


def test_what_is_read_back_is_verbatim(world: ToyWorld) -> None:
    """``…/sk-Wan21-…`` in a path looks like a key; the run must find its model all the same."""
    student = write_toy_model(world.root / "sk-Wan21-T2V-1point3B-Diffusers", seed=0)
    mapping = world.mapping("finetune", training={"max_train_steps": 1})
    mapping["roles"]["student"]["path"] = str(student)
    directory = world.train(mapping)
    assert str(student) in directory.resolved_yaml.read_text()
    world.train(mapping, "training.max_train_steps=2")
    assert str(student) not in (directory.trackers / "run.yaml").read_text()


class Heard:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def log(self, metrics: object, step: int) -> None:
        self.told.append(metrics)

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        self.told += [name, path, caption]

    def file(self, path: Path, name: str) -> None:
        self.told.append(path.read_text())

    def finish(self) -> None:
        pass


class Failing(Heard):
    """One whose service is down."""

    def finish(self) -> None:
        raise ConnectionError(f"https://user:{OPEN}@host failed")


def test_everything_that_leaves_passes_one_gate(tmp_path: Path) -> None:
    record, service = Heard(), Failing()
    trackers = Trackers(record, [service], Events(tmp_path / "events.jsonl"))
    page = tmp_path / "page.html"
    clip = f"data:video/mp4;base64,AAA/{'B' * 40}+AKIA0123456789ABCDEF=="
    page.write_text(f"<p>{OPEN}</p><video src='{clip}'>")
    trackers.log({f"row {OPEN}/loss": 1.0}, 1)
    trackers.video(f"samples/{OPEN}", page, f"a {OPEN}", 1)
    trackers.file(page, "page.html")
    trackers.finish()
    for heard in (record, service):
        assert OPEN not in str(heard.told)
        assert {f"row {REDACTED}/loss": 1.0} in heard.told
        assert f"<p>{REDACTED}</p><video src='{clip}'>" in heard.told, "a clip stays as it is"
    assert OPEN in page.read_text(), "the run's own file is left alone"
    assert OPEN not in json.loads((tmp_path / "events.jsonl").read_text())["message"]
