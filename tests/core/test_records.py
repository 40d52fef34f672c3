"""Records that a run reads back: one that is damaged is moved aside, said, and gone on without; one that is gone is asked about."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from random import Random

import pytest
from tests.core.conftest import ToyWorld

from distill_core.comparison import ComparedLine, ComparisonTable
from distill_core.config.schema import Tracking
from distill_core.data.reading.bad_rows import BadRow, Quarantine
from distill_core.errors import RunDirectoryError
from distill_core.running.run_directory import RunDirectory
from distill_core.tracking import JsonlTracker
from distill_core.tracking.events import Events
from distill_core.tracking.jsonl import broken_lines, hashes_beside

BROKEN = [b"\xff\xfe\n", b"3\n", b"[" * 9000 + b"\n", b'{"step": "x"}\n', b'{"step"\n', b"null\n", b"\x00\n"]


def flips(content: bytes, count: int) -> Iterator[bytes]:
    """The content with one bit changed, at so many places."""
    for bit in Random(0).sample(range(8 * len(content)), count):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def moved(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{path.name}.damaged-*"))


def test_a_flipped_bit_in_the_list_of_bad_rows_is_found_and_costs_that_line_alone(tmp_path: Path) -> None:
    path, said = tmp_path / "quarantine.jsonl", list[str]()
    rows = [BadRow(index, "a.parquet", index, "é is null") for index in (3, 40)]
    Quarantine(path, "f", 50, lambda _: None).add(rows)
    content = path.read_bytes()
    for changed in flips(content, 150):
        path.write_bytes(changed)
        said.clear()
        kept = Quarantine(path, "f", 50, lambda _: None, said.append)
        left = [row.index for row in rows if row.index in kept]
        assert (
            left != [3, 40] or path.read_bytes() == content
        )  # whoever has both has lost the last line's end, and mends it
        assert len(kept) == len(left), "no row that nobody put there"
        assert len(said) == len(moved(path)) == (left != [3, 40] and bool(moved(path)))
        for other in moved(path):
            assert other.read_bytes() == changed
            other.unlink()


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_line_of_figures_is_left_out_and_the_file_kept(
    tmp_path: Path, broken: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    before = b'{"step": 2, "loss": 1.0}\n' + broken + b'{"step": 4, "loss": 2.0}\n{"step": 6, "loss": 3.0}\n{"st'
    path.write_bytes(before)
    JsonlTracker(path, 5, Events(None)).log({"loss": 7.0}, 5)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4, 5]
    (kept,) = moved(path)
    assert kept.read_bytes() == before
    assert "1 lines of" in capsys.readouterr().err


def test_a_flipped_bit_in_the_figures_is_found_and_costs_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    for step in (2, 4):
        tracker.log({"loss": step / 2}, step)
    content, hashes = path.read_bytes(), hashes_beside(path).read_bytes()
    for changed in flips(content, 200):
        path.write_bytes(changed)
        hashes_beside(path).write_bytes(hashes)
        assert broken_lines(path) or changed[-1:] != b"\n"
        JsonlTracker(path, 5, Events(None))
        assert set(path.read_bytes().splitlines()) < set(content.splitlines())


def test_a_flipped_bit_in_the_hashes_of_the_figures_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    JsonlTracker(path).log({"loss": 1.0}, 2)
    content, hashes = path.read_bytes(), hashes_beside(path).read_bytes()
    for number, changed in enumerate(flips(hashes, 30), 1):
        path.write_bytes(content)
        hashes_beside(path).write_bytes(changed)
        JsonlTracker(path, 5, Events(None))
        assert path.read_bytes() in (content, b"")
        assert capsys.readouterr().err.count("not what was written") == (path.read_bytes() == b"")
        assert sum(each.read_bytes() == content for each in moved(path)) <= number


def test_figures_that_an_earlier_version_wrote_or_a_person_thinned_out_are_taken_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "loss": 1.0}\n')
    tracker = JsonlTracker(path, 5, Events(None))
    for step in (5, 6, 7):
        tracker.log({"loss": 1.0}, step)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[2:]]))
    JsonlTracker(path, 7, Events(None))
    assert path.read_text().splitlines(keepends=True) == [lines[0], lines[2]]
    assert capsys.readouterr().err == ""


def test_a_flipped_bit_in_a_table_is_found_and_the_table_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, line = tmp_path / "table.json", ComparedLine("é", "student", 4, 1.0, 0.5, {"m/x": 0.25})
    table = ComparisonTable(7, {"a": (1, 2)}, ("m/x",), (line,))
    table.write(path)
    found = ComparisonTable.read(path, 7, {"a": (1, 2)}, ("m/x",), Events(None))
    assert found is not None
    assert astuple(found) == astuple(table)
    assert ComparisonTable.read(path, 8, {"a": (1, 2)}, ("m/x",), Events(None)) is None
    for number, changed in enumerate(flips(path.read_bytes(), 150), 1):
        path.write_bytes(changed)
        assert ComparisonTable.read(path, 7, {"a": (1, 2)}, ("m/x",), Events(None)) is None
        assert not path.exists()
        assert len(moved(path)) == number
    assert capsys.readouterr().err.count("is damaged") == 150


def test_a_flipped_bit_in_the_resolved_run_is_found_said_and_gone_on_without(world: ToyWorld) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 2})
    directory = world.train(mapping)
    content = directory.resolved_yaml.read_bytes()
    for changed in flips(content, 100):
        directory.resolved_yaml.write_bytes(changed)
        assert directory._recorded() is None
    world.train(mapping)
    assert directory.resolved_yaml.read_bytes() == content
    (kept,) = moved(directory.resolved_yaml)
    assert kept.read_bytes() == changed
    assert "record_damaged" in directory.events.read_text()


def test_checkpoints_that_are_gone_are_said_and_ask_for_a_flag(world: ToyWorld) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 2})
    directory = world.train(mapping)
    figures = directory.metrics.read_bytes()
    shutil.rmtree(directory.checkpoints)
    with pytest.raises(RunDirectoryError, match=r"holds no checkpoint.*checkpoint\.accept=\[checkpoints\]"):
        world.train(mapping)
    directory.events.unlink()  # which would know
    with pytest.raises(RunDirectoryError, match=r"holds no checkpoint"):
        world.train(mapping)
    assert directory.metrics.read_bytes() == figures
    world.train(mapping, "checkpoint.accept=[checkpoints]")
    (earlier,) = directory.root.glob("metrics.jsonl.earlier-*")
    assert earlier.read_bytes() == figures, "the history is kept"
    assert "starts_over" in directory.events.read_text()


def test_figures_that_are_gone_are_said_and_ask_for_a_flag(world: ToyWorld) -> None:
    directory = world.train(world.mapping("finetune", training={"max_train_steps": 2}))
    directory.metrics.unlink()
    longer = world.mapping("finetune", training={"max_train_steps": 4})
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl.*is gone.*checkpoint\.accept=\[metrics\]"):
        world.train(longer)
    world.train(longer, "checkpoint.accept=[metrics]")
    assert [json.loads(line)["step"] for line in directory.metrics.read_text().splitlines()] == [4]


def test_a_run_that_saved_nothing_starts_over_says_so_and_keeps_its_figures(
    world: ToyWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = world.mapping("finetune", training={"max_train_steps": 2})
    directory = RunDirectory(world.root / "run")
    directory.root.mkdir()
    with directory.locked():
        directory.open("", world.resolved(mapping).to_mapping(), [], {})
    directory.metrics.write_text('{"step": 1, "loss": 1.0}\n')
    world.train(mapping)
    assert "nothing was saved, and the run starts over" in capsys.readouterr().err
    (kept,) = directory.root.glob("metrics.jsonl.earlier-*")
    assert kept.read_text() == '{"step": 1, "loss": 1.0}\n', "it is not damaged, and does not say that it is"


def test_a_flipped_bit_in_what_waits_for_wandb_costs_that_line_alone_and_its_id_is_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from distill_core.tracking.wandb import identity_in
    from distill_core.tracking.wandb_offline import OfflineWandbTracker

    def opened() -> OfflineWandbTracker:
        return OfflineWandbTracker(Tracking(), tmp_path, "run", {}, resumed_step=9)

    tracker, first = opened(), identity_in(tmp_path)
    for step in (1, 2):
        tracker.log({"loss": float(step)}, step)
    content = (tmp_path / "waiting.jsonl").read_bytes()
    for changed in flips(content, 60):
        (tmp_path / "waiting.jsonl").write_bytes(changed)
        left = [entry["step"] for entry in opened()._entries()]
        assert left in ([1], [2], []), "none that was not told"
    assert "W&B does not get them" in capsys.readouterr().err
    assert identity_in(tmp_path) == first
    identity = (tmp_path / "id").read_bytes()
    for changed in flips(identity, 60):
        (tmp_path / "id").write_bytes(changed)
        assert identity_in(tmp_path) != first
    assert len(moved(tmp_path / "id")) == 60
