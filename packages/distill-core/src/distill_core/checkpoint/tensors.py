"""Named tensors on disk, by torch.distributed.checkpoint. It keeps no class of ours and runs nothing that it reads.

torch's format keeps its index of the tensors as a pickle, ``.metadata``. Here it is read by a closed list of names. The list has no
``BytesStorageMetadata``: torch would unpickle what such an entry points to without any check, and we save tensors only.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PosixPath
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadPlan, ReadItem
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save
from torch.serialization import get_crc32_options, set_crc32_options

from distill_core.checkpoint.blocks import FileRecord
from distill_core.checkpoint.hashed_files import HashingWriter, VerifiedFileSystem
from distill_core.durable import sync
from distill_core.errors import CheckpointError
from distill_core.plugins.border import describe

INDEX = ".metadata"
"""The file of a folder that says where its tensors lie."""
_DCP = "torch.distributed.checkpoint"
_DTYPES = frozenset(("torch", name) for name, value in vars(torch).items() if isinstance(value, torch.dtype))
NAMES_IN_AN_INDEX = _DTYPES | {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    (f"{_DCP}.filesystem", "_StorageInfo"),
    (f"{_DCP}.metadata", "Metadata"),
    (f"{_DCP}.metadata", "MetadataIndex"),
    (f"{_DCP}.metadata", "StorageMeta"),
    (f"{_DCP}.metadata", "ChunkStorageMetadata"),
    (f"{_DCP}.metadata", "TensorProperties"),
    (f"{_DCP}.metadata", "TensorStorageMetadata"),
    (f"{_DCP}.metadata", "_MEM_FORMAT_ENCODING"),
}
"""The module and name of everything that torch's index of tensors is made of, but for the folder's own path."""


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Any, because it is what the pickle names. Raises UnpicklingError for what is not on the list."""
        if name == "PosixPath" and module in ("pathlib", "pathlib._local"):  # the latter: as Python 3.13 writes it
            return PosixPath
        if (module, name) not in NAMES_IN_AN_INDEX:
            raise pickle.UnpicklingError(f"its index names {module}.{name}, which no checkpoint needs; do not trust it")
        return super().find_class(module, name)


class _Reader(FileSystemReader):
    def __init__(self, folder: Path, files: VerifiedFileSystem | None = None) -> None:
        super().__init__(folder)
        self._index = folder / INDEX
        if files is not None:
            self.fs = files

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        """The index. torch passes arguments of its own choice, for checkpoints of a kind that is not written here."""
        with self._index.open("rb") as file:
            try:
                index = _IndexUnpickler(file).load()
            # A class of torch's takes no state of a newer torch's.
            except (ValueError, TypeError, AttributeError) as error:
                raise pickle.UnpicklingError(
                    f"its index is none of torch {torch.__version__}'s; a checkpoint is read by the torch that wrote it, or a newer one"
                ) from error
        if not isinstance(index, Metadata) or index.storage_meta is None:
            raise pickle.UnpicklingError("its index is none of torch's")
        index.storage_meta.load_id = self.load_id
        return index

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """The same, in the order in which the files hold it: torch's own is that of the names, which reads to and fro."""

        def place(item: ReadItem) -> tuple[str, int]:
            """The file, and where in it."""
            found = self.storage_data[item.storage_index]
            return found.relative_path, found.offset

        return replace(plan, items=sorted(plan.items, key=place))


def save_tensors(
    folder: Path,
    tensors: Mapping[str, Tensor],
    *,
    alone: bool = True,
    group: ProcessGroup | None = None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, FileRecord]:
    """Write the tensors into a folder; when it returns, all of it is on disk. Raises OSError. Returns what was written, by file name.

    ``alone``: whether no other process of the run, in ``group``, writes its share of them. ``check`` may raise between two pieces.
    """
    writer = HashingWriter(folder, check)
    try:
        with _one_process(), _without_crc():
            dcp_save(_detached(tensors), storage_writer=writer, process_group=group, no_dist=alone)
    except CheckpointException as wrapped:
        raised = _reason(wrapped)
        raise raised from raised.__cause__
    sync(folder)  # its files have been brought to disk by torch, their names not
    return {path.name: record for path, record in writer.files.records.items()}


def load_tensors(folder: Path, tensors: Mapping[str, Tensor], records: Mapping[str, FileRecord] | None = None) -> None:
    """Fill the given tensors in place. Raises CheckpointError if torch cannot read them, or the index is not one that torch wrote.

    ``records``: by file name; every byte of the tensors is compared with them as it is read, and DamagedError raised for one that differs.
    None believes what is read, and the index is believed in any case.
    """
    files = None if records is None else VerifiedFileSystem(records, places(folder, tensors.__contains__))
    try:
        with _one_process():
            dcp_load(_detached(tensors), storage_reader=_Reader(folder, files), no_dist=True)
    except CheckpointException as wrapped:
        raised = _reason(wrapped)
        if not isinstance(raised, Exception):
            raise raised from raised.__cause__
        if files is None or not files.damaged:
            raise CheckpointError(f"{folder} cannot be read: {describe(raised)}") from raised
    if files is not None and files.damaged:
        raise files.refusal(files.damaged[0])


def places(folder: Path, names: Callable[[str], bool]) -> dict[str, list[range]]:
    """Where the tensors of some names lie: by file, their bytes. Raises CheckpointError for an index that is not one that torch wrote."""
    try:
        index = _Reader(folder).read_metadata()
    except (OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{folder} cannot be read: {describe(error)}") from error
    found: dict[str, list[range]] = {}
    for piece, place in index.storage_data.items():
        if names(piece.fqn):
            found.setdefault(place.relative_path, []).append(range(place.offset, place.offset + place.length))
    return found


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder, on the CPU. Raises CheckpointError if torch cannot read them, or the index is not one that torch wrote."""
    try:
        index = _Reader(folder).read_metadata().state_dict_metadata
    except (OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{folder} cannot be read: {describe(error)}") from error
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in index.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    load_tensors(folder, tensors)
    return tensors


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items()}


@contextmanager
def _one_process() -> Iterator[None]:
    """torch warns that it saves for one process; that is what it is asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


@contextmanager
def _without_crc() -> Iterator[None]:
    """torch's own checksums are left out: it never compares them, and every byte has a better one in the manifest."""
    before = get_crc32_options()
    set_crc32_options(False)
    try:
        yield
    finally:
        set_crc32_options(before)


def _reason(wrapped: CheckpointException) -> BaseException:
    """What went wrong inside torch: it wraps everything, and over a full disk or Ctrl-C its writer raises a RuntimeError of its own."""
    (raised, _), *_ = wrapped.failures.values()
    hidden = raised.__context__
    return hidden if isinstance(raised, RuntimeError) and hidden is not None else raised
