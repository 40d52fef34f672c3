"""One checkpoint on disk: what is in it, how it comes there, and what is read of a file that an enemy wrote."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from tests.core.conftest import methods
from tests.core.test_trainer import Numbers
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemReader
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex, TensorProperties

from distill_core.checkpoint import Checkpoint, Checkpoints, Identity, State
from distill_core.checkpoint.manifest import recorded
from distill_core.checkpoint.tensors import load_tensors, save_tensors
from distill_core.config.schema import Optimization
from distill_core.data.reading.order import Bucket
from distill_core.data.reading.stream import RowStream
from distill_core.errors import CheckpointError, DiskFullError
from distill_core.testing.contracts import toy_roles
from distill_core.tracking.events import Events
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.roles import RoleHandle
from distill_core.training.state import TrainingState, not_finite


def toy_state(buffer: float = 0.0) -> TrainingState:
    """The state of a role with a persistent and a passing buffer."""
    toy = toy_roles(methods()[0])["student"]
    normed = nn.BatchNorm1d(2)
    normed.register_buffer("passing", torch.zeros(1), persistent=False)
    assert normed.running_mean is not None
    normed.running_mean.fill_(buffer)
    role = RoleHandle("student", {**toy.modules, "normed": normed}, toy.adapter, trainable=True)
    role.optimizer = RoleOptimizer(role.trained_parameters(), Optimization(), 1)
    stream = RowStream(Numbers(), [Bucket.of((1, 1, 1, 1), np.arange(6))], seed=0, batch_size=2)
    return TrainingState({"student": role}, stream, (1, 1, 1, 1))


def saved(root: Path, state: State, step: int = 1) -> Checkpoint:
    path = Checkpoints(root, Events(None), keep_last=9).save(state, step, None)
    return Checkpoint(path, step)


def test_buffers_are_saved_and_put_back(tmp_path: Path) -> None:
    name = "roles.student.modules.normed.running_mean"
    checkpoint = saved(tmp_path, toy_state(buffer=7.0))
    fresh = toy_state()
    assert "roles.student.modules.normed.passing" not in fresh.tensors()
    checkpoint.load(fresh.tensors())
    assert fresh.tensors()[name].tolist() == [7.0, 7.0]


def test_everything_is_on_disk_before_a_checkpoint_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut at any moment: the name is there only if all that it stands for is."""
    synced: set[int] = set()
    before_rename: dict[str, bool] = {}
    sync, rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def watched(source: Path, target: Path) -> None:
        if Path(target).name.startswith("step-"):
            for path in (source, *source.rglob("*")):
                before_rename[path.name] = path.stat().st_ino in synced
            synced.clear()
        rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", watched)
    saved(tmp_path, toy_state())
    assert {"dcp", ".metadata", "__0_0.distcp", "state.json", "manifest.json"} < before_rename.keys()
    assert all(before_rename.values()), before_rename
    assert tmp_path.stat().st_ino in synced, "the new name itself"


def test_what_a_killed_process_left_behind_is_swept_away_and_a_link_is_left_alone(tmp_path: Path) -> None:
    precious, checkpoints = tmp_path / "precious", tmp_path / "checkpoints"
    for folder in (precious, checkpoints / ".tmp-00000001-abc"):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    (checkpoints / ".tmp-link").symlink_to(precious)
    saved(checkpoints, toy_state())
    assert sorted(path.name for path in checkpoints.iterdir()) == [".tmp-link", "step-00000001"]
    assert (precious / "file").exists()


def test_a_kill_while_an_old_one_is_deleted_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, state = Checkpoints(tmp_path, Events(None), keep_last=1), toy_state()
    checkpoints.save(state, 1, None)

    def killed(folder: Path) -> None:
        (folder / "manifest.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(state, 2, None)
    assert [checkpoint.step for checkpoint in checkpoints.published()] == [2]


def rewrite_manifest(checkpoint: Checkpoint) -> None:
    """As an enemy would who can write files: sizes and hashes fit again."""
    recorded(checkpoint.path, checkpoint.step, "0.1.0", Identity()).write(checkpoint.path)
    assert checkpoint.faults() == []


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_an_index_that_would_run_something_is_refused_and_does_not_run(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, toy_state())
    (checkpoint.path / "dcp" / ".metadata").write_bytes(pickle.dumps(Bomb(tmp_path / "bang")))
    rewrite_manifest(checkpoint)
    with pytest.raises(CheckpointError, match=r"names posix\.mkdir, which no checkpoint needs"):
        checkpoint.load(toy_state().tensors())
    assert not (tmp_path / "bang").exists()


def test_an_index_that_points_to_a_pickle_is_refused_and_it_does_not_run(tmp_path: Path) -> None:
    """torch unpickles an entry of bytes without any check."""
    checkpoint, tensors = saved(tmp_path, toy_state()), toy_state().tensors()
    name = next(iter(tensors))
    metadata = FileSystemReader(checkpoint.path / "dcp").read_metadata()
    metadata.state_dict_metadata[name] = BytesStorageMetadata()
    (place,) = [place for index, place in metadata.storage_data.items() if index.fqn == name]
    metadata.storage_data[MetadataIndex(name)] = place
    torch.save(Bomb(tmp_path / "bang"), checkpoint.path / "dcp" / place.relative_path)
    place.offset, place.length = 0, (checkpoint.path / "dcp" / place.relative_path).stat().st_size
    (checkpoint.path / "dcp" / ".metadata").write_bytes(pickle.dumps(metadata))
    rewrite_manifest(checkpoint)
    with pytest.raises(CheckpointError, match="BytesStorageMetadata"):
        checkpoint.load({name: tensors[name]})
    assert not (tmp_path / "bang").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(1), pickle.dumps(torch.float32)])
def test_an_index_that_is_none_is_a_checkpoint_error(tmp_path: Path, content: bytes) -> None:
    checkpoint = saved(tmp_path, toy_state())
    (checkpoint.path / "dcp" / ".metadata").write_bytes(content)
    rewrite_manifest(checkpoint)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(toy_state().tensors())


def test_a_checkpoint_of_a_newer_torch_is_not_called_a_damaged_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = saved(tmp_path, toy_state())

    def older(self: TensorProperties, state: tuple[object, ...]) -> None:
        """As torch 2.11 takes what torch 2.15 wrote."""
        raise ValueError(f"too many values to unpack (expected {len(state) - 1})")

    monkeypatch.setattr(TensorProperties, "__setstate__", older)
    (fault,) = checkpoint.faults(lambda _: lambda _: True)
    assert "a checkpoint is read by the torch that wrote it, or a newer one" in fault
    assert "manifest.json" not in fault


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool])
def test_tensors_of_any_dtype_shape_and_order_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = torch.arange(24).reshape(2, 3, 4).to(dtype)
    last = torch.rand(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    tensors = {"scalar": whole[0, 0, 1], "turned": whole.transpose(0, 2), "last": last}
    save_tensors(tmp_path, tensors)
    back = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    load_tensors(tmp_path, back)
    assert all(torch.equal(back[name].double(), tensor.double()) for name, tensor in tensors.items())


class FailingFile(io.RawIOBase):
    """A file that some write to fails, with whatever ``stopped`` is."""

    def __init__(self, file: IO[bytes], stopped: BaseException, writes: Iterator[int]) -> None:
        self.file, self.stopped, self.writes = file, stopped, writes

    def write(self, data: Any) -> int:
        if next(self.writes, None) is None:
            raise self.stopped
        return self.file.write(data)

    def tell(self) -> int:
        return self.file.tell()

    def fileno(self) -> int:
        return self.file.fileno()

    def flush(self) -> None:
        self.file.flush()


@pytest.mark.parametrize("ctrl_c", [False, True])
@pytest.mark.parametrize("writes", [0, 1, 2, 5, 9])
def test_a_save_that_cannot_write_raises_what_stopped_it_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ctrl_c: bool, writes: int
) -> None:
    """torch would wrap it in an exception of its own, or hide it behind ``unexpected pos 704 vs 598``."""
    stopped = KeyboardInterrupt() if ctrl_c else OSError(28, "No space left on device")
    left, create_stream = iter(range(writes)), FileSystem.create_stream

    @contextmanager
    def failing(self: FileSystem, path: str | os.PathLike[str], mode: str) -> Iterator[FailingFile]:
        with create_stream(self, path, mode) as file:
            yield FailingFile(file, stopped, left)

    monkeypatch.setattr(FileSystem, "create_stream", failing)
    with pytest.raises(KeyboardInterrupt if ctrl_c else DiskFullError) as raised:
        saved(tmp_path, toy_state())
    assert list(tmp_path.iterdir()) == []
    assert ctrl_c or f"{tmp_path}: no room for the checkpoint of step 1 (No space left on device)" in str(raised.value)


def test_one_flag_tells_whether_all_is_finite_and_names_what_is_not() -> None:
    tensors = {name: torch.ones(3, dtype=dtype) for name, dtype in (("a", torch.float32), ("b", torch.bfloat16))}
    tensors |= {"c": torch.tensor(1), "d": torch.zeros(0), "e": torch.ones(2)}
    assert not_finite(tensors) == not_finite({}) == []
    tensors["b"][1] = float("nan")
    tensors["e"][0] = float("-inf")
    assert not_finite(tensors) == ["b", "e"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_numbers_whose_squares_are_too_large_are_finite_all_the_same(dtype: torch.dtype) -> None:
    most = torch.finfo(dtype).max
    tensors = {"large": torch.full((5,), most, dtype=dtype), "small": torch.ones(2, dtype=dtype)}
    assert not_finite(tensors) == []
    tensors["large"][3] = float("nan")
    assert not_finite(tensors) == ["large"]
