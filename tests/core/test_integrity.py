"""A checkpoint knows which one it is: any bit, any name, any file that is not what was written is seen, and passed over."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tests.core.test_checkpoints import saved, toy_state

from distill_core.checkpoint import Checkpoint, Checkpoints
from distill_core.durable import sealed, unsealed
from distill_core.errors import CheckpointError
from distill_core.tracking.events import Events


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return saved(tmp_path_factory.mktemp("whole"), toy_state(), step=7)


@pytest.fixture
def copy(whole: Checkpoint, tmp_path: Path) -> Checkpoint:
    shutil.copytree(whole.path, tmp_path / whole.path.name)
    return Checkpoint(tmp_path / whole.path.name, 7)


def test_what_was_written_is_good(whole: Checkpoint) -> None:
    assert whole.faults() == []
    assert whole.manifest().files.keys() == {"state.json", "dcp/.metadata", "dcp/__0_0.distcp"}


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "dcp/.metadata", "dcp/__0_0.distcp"])
def test_one_flipped_bit_anywhere_in_a_checkpoint_is_found(copy: Checkpoint, name: str) -> None:
    path = copy.path / name
    content = path.read_bytes()
    for bit in Random(name).sample(range(8 * len(content)), 120):
        flipped(path, bit)
        assert copy.faults(), f"bit {bit} of {name}"
        path.write_bytes(content)
    assert copy.faults() == []


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "dcp/.metadata", "dcp/__0_0.distcp"])
@pytest.mark.parametrize("left", [0, 1, -1])
def test_a_file_that_is_cut_short_or_gone_is_found(copy: Checkpoint, name: str, left: int) -> None:
    path = copy.path / name
    path.write_bytes(path.read_bytes()[:left])
    assert copy.faults()
    path.unlink()
    assert copy.faults()


def damage_extra(folder: Path) -> None:
    (folder / "dcp" / "more").touch()


def damage_link(folder: Path) -> None:
    (folder / "state.json").rename(folder.parent / "elsewhere")
    (folder / "state.json").symlink_to(folder.parent / "elsewhere")


def damage_linked_folder(folder: Path) -> None:
    (folder / "more").symlink_to(folder.parent)


def damage_manifest(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    """A manifest that an editor has changed, its seal made again."""

    def damage(folder: Path) -> None:
        content = unsealed((folder / "manifest.json").read_bytes())
        change(content)
        (folder / "manifest.json").write_text(sealed(content))

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a file too many": damage_extra,
    "a link for a file": damage_link,
    "a link to a folder": damage_linked_folder,
    "an empty list of files": damage_manifest(lambda content: content.update(files={})),
    "a file outside": damage_manifest(
        lambda content: content.update(files={"../x": {"size": 0, "sha256": "0" * 64}}),
    ),
    "a key too many": damage_manifest(lambda content: content.update(more=1)),
    "a key too few": damage_manifest(lambda content: content.pop("identity")),
    "another step": damage_manifest(lambda content: content.update(step=8)),
    "a step that is no number": damage_manifest(lambda content: content.update(step="7")),
    "a list": lambda folder: (folder / "manifest.json").write_text("[]") and None,
    "deep nesting": lambda folder: (folder / "manifest.json").write_text("[" * 200_000) and None,
    "no UTF-8": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe") and None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_manifest_that_does_not_say_exactly_what_is_there_is_damage(copy: Checkpoint, damage: str) -> None:
    DAMAGES[damage](copy.path)
    assert copy.faults()


@pytest.mark.parametrize("name", ["step-00000009", "step-00000006"])
def test_a_renamed_or_copied_checkpoint_is_not_taken_for_that_of_its_new_name(copy: Checkpoint, name: str) -> None:
    root = copy.path.parent
    shutil.copytree(copy.path, root / name)
    found = {
        checkpoint.step: checkpoint.faults() for checkpoint in Checkpoints(root, Events(None), keep_last=9).published()
    }
    assert found.pop(7) == []
    assert list(found.values()) == [["it is of step 7, renamed or copied"]]


def test_a_checkpoint_of_another_version_is_refused_by_its_number(copy: Checkpoint) -> None:
    (copy.path / "manifest.json").write_text(json.dumps({"schema": 1, "step": 7, "torch": "2.13", "files": {}}))
    with pytest.raises(
        CheckpointError, match=r"another version of distill \(schema 1, this one reads 2\); go on with that"
    ):
        Checkpoints(copy.path.parent, Events(None), keep_last=9).first_good(Checkpoint.verified)


@pytest.mark.parametrize("name", ["step-²", "step-0000000²", "step-7", "step-", "step-00000007.bak", "step-٠٠٠٠٠٠٠٩"])
def test_a_folder_that_is_not_named_as_a_checkpoint_is_none(copy: Checkpoint, name: str) -> None:
    (copy.path.parent / name).mkdir()
    newest = Checkpoints(copy.path.parent, Events(None), keep_last=9).first_good(Checkpoint.verified)
    assert newest == copy


def test_any_fault_while_verifying_means_damaged_and_the_next_one_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, state = Checkpoints(tmp_path, Events(None), keep_last=9), toy_state()
    for step in range(1, 5):
        store.save(state, step, None)
    (tmp_path / "step-00000004" / "manifest.json").write_bytes(b"\xff")
    for step, name in ((3, "manifest.json"), (2, "state.json")):
        (tmp_path / f"step-0000000{step}" / name).unlink()
        os.mkfifo(tmp_path / f"step-0000000{step}" / name)  # that nobody writes to: reading it would never end
    newest = store.first_good(Checkpoint.verified)
    assert newest is not None
    assert newest.step == 1
    assert capsys.readouterr().err.count("is damaged and passed over") == 3


def test_sealed_json_shows_any_change() -> None:
    text = sealed({"a": [1, "é"], "b": {}}).encode()
    assert unsealed(text) == {"a": [1, "é"], "b": {}}
    for bit in range(8 * len(text)):
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            unsealed(bytes(changed))
