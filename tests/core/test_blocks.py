"""Files as blocks: hashed while they are written, verified all or in part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core.conftest import INDEX, ToyWorld
from tests.core.test_checkpoints import saved, toy_state

from distill_core.checkpoint import Checkpoint, Checkpoints, blocks, hashed_files, records_alone
from distill_core.checkpoint.blocks import BlockHashes, record_of
from distill_core.checkpoint.hashed_files import HashingWriter
from distill_core.checkpoint.tensors import INDEX as TENSOR_INDEX
from distill_core.checkpoint.tensors import places
from distill_core.errors import DamagedError
from distill_core.finished.restore import restore_role
from distill_core.running.preparation import Placement
from distill_core.tracking.events import Events

CPU = Placement(torch.device("cpu"), torch.float32)


@given(sizes=st.lists(st.integers(0, 40), max_size=8))
def test_bytes_in_pieces_of_any_size_come_to_what_a_file_of_them_does(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", 16)
        hashes, file = BlockHashes(), tmp_path_factory.mktemp("file") / "f"
        content = bytes(range(256)) * 2
        place = 0
        for size in sizes:
            hashes.update(content[place : place + size])
            place += size
        file.write_bytes(content[:place])
        record = hashes.record()
        assert record == record_of(file)
        assert record.sha256 == [
            hashlib.sha256(content[:place][at : at + 16]).hexdigest() for at in range(0, place, 16)
        ]
        assert record.fault(file) is None


def test_what_torch_writes_is_hashed_on_its_way_and_is_what_lies_on_disk(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, toy_state())
    for name, record in checkpoint.manifest().files.items():
        assert record == record_of(checkpoint.path / name), name
    assert HashingWriter(tmp_path / "other").files.records == {}


def test_a_stream_is_closed_before_the_file_below_it_which_its_end_would_flush(tmp_path: Path) -> None:
    files = HashingWriter(tmp_path).files
    with files.create_stream(tmp_path / "file", "wb") as stream:
        assert stream.write(b"some bytes") == 10  # type: ignore[attr-defined]  # torch's own interface of it has none
    assert stream.closed
    assert files.records[tmp_path / "file"] == record_of(tmp_path / "file")


class Large:
    """A state whose tensors are long enough to be hashed by threads beside: two roles, one after the other."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        sizes = {"roles.a.w2": 300_000, "roles.a.w10": 70_001, "roles.a.w1": 100_000, "roles.b.w": 200_000}
        self.named = {name: torch.randn(size, generator=generator) for name, size in sizes.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.named

    def numbers(self) -> dict[str, Any]:
        return {}

    def load_numbers(self, numbers: Mapping[str, Any]) -> None:
        """It has none."""

    def blank(self) -> None:
        """Forget all of it."""
        for tensor in self.named.values():
            tensor.zero_()

    def empty(self, role: str) -> dict[str, torch.Tensor]:
        return {name: torch.zeros_like(tensor) for name, tensor in self.named.items() if f".{role}." in name}


@pytest.fixture
def blocks_of_16k(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that each tensor has several, and begins and ends within one."""
    monkeypatch.setattr(blocks, "BLOCK", 2**14)
    monkeypatch.setattr(hashed_files, "_AT_ONCE", 2**13)


@pytest.mark.usefixtures("blocks_of_16k")
def test_long_tensors_are_hashed_by_threads_while_they_are_written(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, Large())
    for name, record in checkpoint.manifest().files.items():
        assert record == record_of(checkpoint.path / name), name


def bytes_read() -> int:
    """What all read calls of this process have returned."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    return int(fields["rchar"])


@pytest.mark.usefixtures("blocks_of_16k")
def test_a_role_is_restored_and_verified_by_reading_its_bytes_once(tmp_path: Path) -> None:
    state = Large()
    checkpoint, role = saved(tmp_path, state), state.empty("a")
    before = bytes_read()
    checkpoint.verified(records_alone).load(role, unverified=True)
    assert bytes_read() - before < 1.06 * sum(tensor.nbytes for tensor in role.values())
    assert all(torch.equal(role[name], state.named[name]) for name in role)


@pytest.mark.usefixtures("blocks_of_16k")
def test_a_run_goes_on_by_reading_its_checkpoint_once(tmp_path: Path) -> None:
    state, right = Large(), Large()
    checkpoint = saved(tmp_path, state)
    state.blank()
    before = bytes_read()
    assert Checkpoints(tmp_path, Events(None), keep_last=9).resume(state) == checkpoint.step
    assert bytes_read() - before < 1.06 * sum(tensor.nbytes for tensor in state.named.values())
    assert all(torch.equal(state.named[name], right.named[name]) for name in right.named)


@pytest.mark.usefixtures("blocks_of_16k")
def test_a_run_goes_back_by_reading_its_checkpoint_once(tmp_path: Path) -> None:
    state, right = Large(), Large()
    store = Checkpoints(tmp_path, Events(None), keep_last=9)
    good = Checkpoint(store.save(state, 1, None), 1)
    state.blank()
    before = bytes_read()
    assert store.go_back(state) == good
    assert bytes_read() - before < 1.06 * sum(tensor.nbytes for tensor in state.named.values())
    assert all(torch.equal(state.named[name], right.named[name]) for name in right.named)


@pytest.mark.usefixtures("blocks_of_16k")
def test_what_a_run_went_on_from_is_not_read_again_to_be_counted(tmp_path: Path) -> None:
    state = Large()
    store = Checkpoints(tmp_path, Events(None), keep_last=9)
    for step in (1, 2, 3):
        store.save(state, step, None)
    again = Checkpoints(tmp_path, Events(None), keep_last=2)
    again.resume(state)
    before = bytes_read()
    again.save(state, 4, None)
    assert bytes_read() - before < 0.1 * sum(tensor.nbytes for tensor in state.named.values())
    assert [checkpoint.step for checkpoint in again.published()] == [4, 3]


@pytest.mark.usefixtures("blocks_of_16k")
def test_a_bit_that_is_found_flipped_as_a_run_is_loaded_leaves_nothing_of_that_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, right = Large(), Large()
    store = Checkpoints(tmp_path, Events(None), keep_last=9)
    store.save(state, 1, None)
    for tensor in state.named.values():
        tensor.add_(1.0)
    flip(Checkpoint(store.save(state, 2, None), 2), lambda name: name == "roles.b.w")  # which is read last
    assert store.resume(state) == 1
    assert all(torch.equal(state.named[name], right.named[name]) for name in right.named)
    assert "step-00000002 is damaged and passed over: __0_0.distcp: not what was written" in capsys.readouterr().err


@pytest.mark.usefixtures("blocks_of_16k")
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.999])
def test_a_bit_that_is_flipped_in_what_is_read_is_found_as_it_is_read(tmp_path: Path, share: float) -> None:
    state = Large()
    checkpoint = saved(tmp_path, state)
    for name, (place,) in places(checkpoint.path / "dcp", lambda name: name == "roles.a.w2").items():
        content = bytearray((checkpoint.path / "dcp" / name).read_bytes())
        content[place.start + int(share * len(place))] ^= 16
        (checkpoint.path / "dcp" / name).write_bytes(content)
    with pytest.raises(DamagedError, match="not what was written"):
        checkpoint.verified(records_alone).load(state.empty("a"), unverified=True)
    checkpoint.verified(records_alone).load(state.empty("b"), unverified=True)


def test_a_part_of_a_file_is_verified_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 16)
    file = tmp_path / "f"
    file.write_bytes(bytes(100))
    record = record_of(file)
    file.write_bytes(bytes(40) + b"x" + bytes(59))
    assert record.fault(file) == "not what was written"
    assert record.fault(file, [range(32), range(48, 2**60)]) is None
    assert record.fault(file, [range(1), range(47, 48)]) == "not what was written"
    assert record.fault(file, []) is None
    file.write_bytes(bytes(101))
    assert record.fault(file, []) == "not what was written", "its size is always known"


def flip(checkpoint: Checkpoint, of: Callable[[str], bool]) -> None:
    """A bit of every tensor of these names."""
    for name, found in places(checkpoint.path / "dcp", of).items():
        path = checkpoint.path / "dcp" / name
        content = bytearray(path.read_bytes())
        for place in found:
            content[(place.start + place.stop) // 2] ^= 1
        path.write_bytes(content)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that the toy's tensors do not share one."""
    monkeypatch.setattr(blocks, "BLOCK", 64)


@pytest.mark.usefixtures("small_blocks")
def test_restoring_a_role_reads_and_verifies_its_weights_and_nothing_else(world: ToyWorld) -> None:
    root = world.train(world.mapping("dmd2", training={"max_train_steps": 5})).root
    newest = Checkpoints(root / "checkpoints", Events(None), keep_last=1).published()[0]
    flip(newest, lambda name: name.startswith("roles.critic.") or ".optimizer." in name)
    assert newest.faults() != [], "a resume needs them all"
    assert restore_role(root, INDEX, "student", step=None, averaged=True, placement=CPU).step == 5


@pytest.mark.usefixtures("small_blocks")
def test_a_role_whose_weights_are_damaged_is_restored_from_the_next_checkpoint(
    world: ToyWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    root = world.train(world.mapping("dmd2", training={"max_train_steps": 6}, checkpoint={"interval": 3})).root
    newest = Checkpoints(root / "checkpoints", Events(None), keep_last=1).published()[0]
    flip(newest, lambda name: name.startswith("roles.student.modules."))
    assert restore_role(root, INDEX, None, step=None, averaged=True, placement=CPU).step == 3
    assert "is damaged and passed over" in capsys.readouterr().err


@pytest.mark.usefixtures("small_blocks")
def test_the_index_is_verified_before_it_is_believed(world: ToyWorld) -> None:
    root = world.train(world.mapping("finetune", training={"max_train_steps": 1})).root
    (newest,) = Checkpoints(root / "checkpoints", Events(None), keep_last=1).published()
    index = newest.path / "dcp" / TENSOR_INDEX
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)
    assert newest.faults(lambda _: lambda _: False) == ["dcp/.metadata: not what was written"]
