"""``distill verify``: every byte of a run, a checkpoint or a data set against its record."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.core.conftest import INDEX, ToyWorld, write_data

from distill_core.cli import main
from distill_core.finished.verify import Verified, verify
from distill_core.plugins import discovery
from distill_core.testing.toy_spec import write_toy_model

pytestmark = pytest.mark.xdist_group("verify")  # what they share is made once


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    """A world with a run in it that no test changes."""
    world = ToyWorld(tmp_path_factory.mktemp("whole"))
    world.train(run_of(world))
    return world


def run_of(world: ToyWorld) -> dict[str, object]:
    return world.mapping(
        "dmd2",
        training={"max_train_steps": 6},
        checkpoint={"interval": 3},
        comparison={"rows": {"a": {"role": "student", "steps": 1}}, "max_prompts": 1},
    )


def found(path: Path) -> dict[str, Verified]:
    return {one.name: one for one in verify(str(path), INDEX, lambda _: None)}


def faults(path: Path) -> dict[str, str]:
    return {name: one.fault for name, one in found(path).items() if one.fault is not None}


def flip(path: Path, place: int = -9) -> None:
    """Another bit, the file's date as it was."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_whole_run_is_as_it_was_written_and_all_of_it_is_named(whole: ToyWorld) -> None:
    assert faults(whole.root / "run") == {}
    names = {"resolved.yaml", "table.json", "metrics.jsonl", "step-00000003", "step-00000006", "data", "torch"}
    names |= {"weights.teacher", "model.student", "model.teacher", "model.critic", "encoders.toy"}
    assert set(found(whole.root / "run")) == names


def test_each_damage_of_a_run_is_named_and_nothing_else(world: ToyWorld) -> None:
    root = world.train(run_of(world)).root
    flip(next((root / "checkpoints" / "step-00000003" / "dcp").glob("*.distcp")))
    flip(root / "comparison" / "table.json")
    flip(root / "resolved.yaml", 5)
    with (root / "metrics.jsonl").open("a") as file:
        file.write("no figures\n")
    (root / "quarantine.jsonl").write_text('{"data": "x"}\n')
    named = faults(root)
    assert set(named) == {
        "step-00000003", "table.json", "resolved.yaml", "metrics.jsonl", "quarantine.jsonl", "what the run rests on",
    }  # fmt: skip
    assert named["metrics.jsonl"] == "line 6 is not what was written"
    assert named["quarantine.jsonl"] == "line 1: carries no hash of itself"


def test_what_a_run_rests_on_is_read_whatever_the_dates_say(world: ToyWorld) -> None:
    root = world.train(run_of(world)).root
    (file,) = (world.root / "data").glob("*.parquet")
    before = file.stat()
    write_data(world.root / "other", seed=6)
    file.write_bytes((world.root / "other" / file.name).read_bytes())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    write_toy_model(world.root / "teacher", seed=8)
    named = faults(root)
    assert set(named) == {"data", "model.teacher", "weights.teacher"}
    assert not any(name in fault for name, fault in named.items())  # which stands before it already


def test_a_checkpoint_and_a_data_set_are_verified_by_themselves(whole: ToyWorld, tmp_path: Path) -> None:
    assert faults(whole.root / "run" / "checkpoints" / "step-00000006") == {}
    assert faults(whole.root / "data") == {}
    write_data(tmp_path / "data")
    (file,) = (tmp_path / "data").glob("*.parquet")
    flip(file, file.read_bytes().index(b"nothing at all"))
    assert list(faults(tmp_path / "data")) == [str(file)]
    assert "not made by distill" in next(iter(found(whole.root / "data").values())).remark


def test_the_command_prints_what_it_found_and_leaves_by_1_for_a_fault(
    whole: ToyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(discovery, "discover", lambda: INDEX)
    checkpoint = whole.root / "run" / "checkpoints" / "step-00000006"
    with pytest.raises(SystemExit) as left:
        main(["verify", str(checkpoint)])
    assert not left.value.code
    captured = capsys.readouterr()
    assert captured.out == "step-00000006: as it was written\n"
    assert "1 compared: all as it was written" in captured.err
    (tmp_path / "step-00000001").mkdir()
    with pytest.raises(SystemExit) as left:
        main(["verify", "--json", str(tmp_path / "step-00000001")])
    assert left.value.code == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert told["fault"] == "manifest.json: missing"
    for missing in ("nothing", "step-00000002"):
        with pytest.raises(SystemExit) as left:
            main(["verify", str(tmp_path / missing)])
        assert left.value.code == 65
