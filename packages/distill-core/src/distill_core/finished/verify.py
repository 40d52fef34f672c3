"""Every byte of a run, a checkpoint or a data set against its record. Changes nothing, and believes no date of a file.

A run's records are its manifests, its sealed and signed files, and what its newest good checkpoint says that it rests on. A data set's are
the checksums of its pages: without them it can only be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distill_core.checkpoint import Checkpoint, Checkpoints
from distill_core.checkpoint.identity import Differences
from distill_core.checkpoint.manifest import MANIFEST
from distill_core.data.reading.files import find_parquet, open_parquet
from distill_core.data.reading.hub_data import fetched
from distill_core.data.reading.origin import Origin
from distill_core.durable import read_signed, unsealed
from distill_core.errors import DataError, DistillError
from distill_core.finished.restore import open_finished
from distill_core.plugins.border import reason
from distill_core.plugins.index import PluginIndex
from distill_core.running.content import ContentHashes
from distill_core.running.identity import Known, frozen_hash, identity_of
from distill_core.running.preparation import prepare
from distill_core.running.roles import RoleBuilder, build_models
from distill_core.running.run_directory import RunDirectory
from distill_core.tracking.events import Events
from distill_core.tracking.jsonl import broken_lines

Say = Callable[[str], None]


@dataclass(frozen=True)
class Verified:
    """One thing that was compared with its record.

    Attributes:
        name: what.
        fault: how it differs; None if it does not.
        remark: what else there is to say, e.g. that it has no record.
    """

    name: str
    fault: str | None = None
    remark: str = ""


def verify(path: str, index: PluginIndex, say: Say) -> Iterator[Verified]:
    """What ``path`` is, a run directory, a checkpoint or a data set, decides what is compared. Raises DataError if it is none of them."""
    folder = Path(path)
    if RunDirectory(folder).resolved_yaml.exists():
        yield from verify_run(folder, index, say)
    elif (folder / MANIFEST).exists() or (folder.name.startswith("step-") and folder.is_dir()):
        yield verify_checkpoint(folder)
    else:
        yield from verify_data(path, say)


def verify_checkpoint(folder: Path) -> Verified:
    """All files of one checkpoint, which must be that of its folder's name."""
    folder = folder.absolute()
    found = [one for one in Checkpoints(folder.parent, Events(None), keep_last=1).published() if one.path == folder]
    if not found:
        return Verified(folder.name, "no name of a checkpoint, which is step- and eight digits")
    faults = found[0].faults()
    return Verified(folder.name, "; ".join(faults) or None)


def verify_data(path: str, say: Say) -> Iterator[Verified]:
    """Every page of every parquet file. Raises DataError if there is none."""
    for file in find_parquet(fetched(path)):
        say(f"reading {file}")
        try:
            with open_parquet(file) as opened:
                recorded = Origin.of(opened.schema_arrow.metadata or {}) is not None
                for group in range(opened.num_row_groups):
                    opened.read_row_group(group, use_threads=False)
        except (DataError, OSError, ValueError) as error:
            yield Verified(str(file), reason(error))
        else:
            yield Verified(
                str(file),
                remark=""
                if recorded
                else "not made by distill, or by an early version of it: readable, but it may have no checksums",
            )


def verify_run(root: Path, index: PluginIndex, say: Say) -> Iterator[Verified]:
    """A run's records and checkpoints, and all that it rests on."""
    directory = RunDirectory(root)
    yield _checked(directory.resolved_yaml, lambda path: read_signed(path))
    table = directory.comparison / "table.json"
    if table.exists():
        yield _checked(table, lambda path: unsealed(path.read_bytes()))
    if directory.quarantine.exists():
        yield _checked(directory.quarantine, _check_quarantine)
    if directory.metrics.exists():
        yield _checked(directory.metrics, _check_metrics)
    newest: Checkpoint | None = None
    for checkpoint in Checkpoints(directory.checkpoints, Events(None), keep_last=1).published():
        say(f"reading {checkpoint.path}")
        verified = verify_checkpoint(checkpoint.path)
        if newest is None and verified.fault is None:
            newest = checkpoint
        yield verified
    if newest is not None:
        yield from _foundations(root, newest, index, say)


def _foundations(root: Path, checkpoint: Checkpoint, index: PluginIndex, say: Say) -> Iterator[Verified]:
    """What the run rests on, compared with what its checkpoint records."""
    there = checkpoint.manifest().identity
    try:
        run, _ = open_finished(root, index)
        prepared = prepare(run)
        say("loading what the run rests on")
        models = build_models(run, prepared.placement)
        roles = RoleBuilder(run, models, prepared.placement, prepared.latent_shape, say).build()
        rows = [row.as_json() for row in index.rows]
        known: Known = {}
        frozen = {name: frozen_hash(role, known) for name, role in roles.items()}
        here = identity_of(prepared, frozen, rows, ContentHashes(None))
    except DistillError as error:
        yield Verified("what the run rests on", str(error))
        return
    found = Differences.between(there, here, there.settings.keys() | here.settings.keys())
    for name in sorted(there.rests_on.keys() | here.rests_on.keys()):
        remark = next((line for line in found.incomparable if line.startswith(f"{name} (")), "")
        fault = (
            found.rests_on[name].removeprefix(f"{name}: ") if name in found.rests_on else None
        )  # which says its name itself
        yield Verified(name, fault, f"cannot be compared: {remark}" if remark else "")


def _checked(path: Path, check: Callable[[Path], object]) -> Verified:
    """A file whose record is in it."""
    try:
        check(path)
    except (OSError, ValueError) as error:
        return Verified(path.name, reason(error))
    return Verified(path.name)


def _check_quarantine(path: Path) -> None:
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        with _line(number):
            unsealed(line, indent=None)


def _check_metrics(path: Path) -> None:
    broken = broken_lines(path)
    if broken:
        raise ValueError(f"line {broken[0]} is not what was written")


@contextmanager
def _line(number: int) -> Iterator[None]:
    """A fault from inside names the line."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
