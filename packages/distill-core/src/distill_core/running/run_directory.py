"""The run directory: what lies where, and who may go on with it. It writes no weights and loads no plugin."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distill_core.config.document import read_document, write_yaml
from distill_core.config.folders import run_at
from distill_core.durable import aside, read_signed, signed, strangers_in, sweep, write_json, write_text
from distill_core.errors import CheckpointError, ConfigError, RunDirectoryError
from distill_core.redaction import redact_mapping
from distill_core.running.continuation import differences
from distill_core.terminal import remark
from distill_core.tracking.events import Events
from distill_core.tracking.jsonl import hashes_beside

LOSSES = ("checkpoints", "metrics")
"""What ``checkpoint.accept`` can name beside what a run rests on: records that are gone."""


_TRIES = 10
TOLD = 8
"""Settings that a refusal of another run names."""
RESERVE = 16_384
"""Bytes that a run sets aside, so that on a full disk it can still write why it ended."""


class RunDirectory:
    """Names the files of a run.

    Attributes:
        root: the directory itself, ``output_dir``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run_yaml = root / "run.yaml"
        self.resolved_yaml = root / "resolved.yaml"
        self.metrics = root / "metrics.jsonl"
        self.metrics_hashes = hashes_beside(self.metrics)
        self.events = root / "events.jsonl"
        self.quarantine = root / "quarantine.jsonl"
        self.content = root / "content.json"
        self.samples = root / "samples"
        self.comparison = root / "comparison"
        self.checkpoints = root / "checkpoints"
        self.trackers = root / "trackers"
        self.captions = root / "captions"
        self.exit_reason = root / "exit_reason.json"
        self.environment = root / "environment.json"
        self.lock = root / ".lock"
        self.reserve = root / ".reserve"

    def refuse_no_run(self) -> None:
        """Raise RunDirectoryError unless a run has written here."""
        if self.resolved_yaml.is_file():
            return
        trained = "name the output_dir of a run that was trained"
        run = run_at(self.root)
        if not self.root.exists():
            fault = f"does not exist; {trained}"
        elif run is not None:
            fault = f"is no run directory, but a part of one: name {run}, and of its checkpoints one by its step"
        else:
            fault = f"is no run directory: it has no {self.resolved_yaml.name}; {trained}"
        raise RunDirectoryError(f"{self.root} {fault}")

    def claim(self, asked: Mapping[str, Any]) -> None:
        """Make sure that a run with this resolved configuration may write here; nothing is written.

        ``asked``: with what was left to the machine as ``auto``. What was found holds only until another process comes: ask again once
        the directory is :meth:`locked`. Raises RunDirectoryError for a path that holds something else, or a run of which this one is no
        continuation.
        """
        there = self._nearest()
        if not there.is_dir():
            raise RunDirectoryError(f"output_dir {self.root}: {there} is a file; choose another output_dir")
        if not os.access(there, os.W_OK | os.X_OK):
            raise RunDirectoryError(f"output_dir {self.root}: {there} cannot be written to; choose another output_dir")
        if there != self.root:
            return
        self._refuse_links()
        begun = self.resolved_yaml.exists()
        if not begun and not all(path.name.startswith(".") for path in self.root.iterdir()):
            raise RunDirectoryError(f"output_dir {self.root} is not empty and holds no run; choose another output_dir")
        self._refuse_strangers()  # which looks at all that there is: not at what is no run's, e.g. a home directory
        if not begun:
            return  # at most a lock, and a file of ours that was being written when the process died
        if not self.metrics.exists() and not self.checkpoints.exists():
            return  # an attempt that ended before its first figures: there is nothing to lose
        resume = asked["checkpoint"]["resume"]
        if resume == "never" and any(self.checkpoints.glob("step-*")):
            raise CheckpointError(
                f"{self.checkpoints} has checkpoints and checkpoint.resume is never; choose another output_dir"
            )
        self._refuse_losses(asked["checkpoint"]["accept"])
        changes = self.changes(asked)
        if changes and resume != "changed":
            raise RunDirectoryError(
                f"output_dir {self.root} holds another run ({_told(changes)}); choose another output_dir, make the two agree, "
                "or go on with the new settings by checkpoint.resume=changed"
            )

    def _nearest(self) -> Path:
        """The directory itself, or the nearest one above it that there is. Raises RunDirectoryError for a name that none can have."""
        try:
            return next(path for path in (self.root, *self.root.parents) if path.exists())
        except OSError as error:
            raise RunDirectoryError(
                f"output_dir {self.root} cannot be looked at: {error.strerror}; choose another output_dir"
            ) from error

    def changes(self, asked: Mapping[str, Any]) -> list[str]:
        """What this configuration has other than the run in the directory and a continuation may not have, one line per key.

        Where the directory's own record cannot be read, the newest checkpoint's is left to be compared.
        """
        before = self._recorded()
        return [] if before is None else differences(before, asked)

    def _recorded(self) -> Mapping[str, Any] | None:
        """The resolved run as it was written; None if there is none, or it is not what was written."""
        try:
            return read_document(read_signed(self.resolved_yaml), str(self.resolved_yaml)).data
        except (OSError, ValueError, ConfigError):
            return None

    def _refuse_links(self) -> None:
        """Raise RunDirectoryError if a name of the run's own is a link: what it points to would be written to."""
        own = [path for path in vars(self).values() if path != self.root]
        links = [path.name for path in (*own, *self.checkpoints.glob("step-*")) if path.is_symlink()]
        if links:
            raise RunDirectoryError(
                f"output_dir {self.root}: {', '.join(links)} is a link, and a run writes only to what is its own; put the file or folder "
                "itself there, or link to the whole output_dir"
            )

    def _refuse_strangers(self) -> None:
        """Raise RunDirectoryError for a name of the run's own that is a folder instead of a file, or the other way round, and for what is
        neither, e.g. a named pipe: reading it, or adding to it, might never end. Checkpoints are left to those who verify them.
        """
        folders = {self.samples, self.comparison, self.checkpoints, self.trackers, self.captions}
        own = [path for path in vars(self).values() if path != self.root and path.exists()]
        wrong = [
            f"{path.name} is no {'folder' if path in folders else 'file'}"
            for path in own
            if path.is_dir() is not (path in folders)
        ]
        strangers = sorted(path.relative_to(self.root).as_posix() for path in strangers_in(self.root, self.checkpoints))
        wrong += [f"{name} is a pipe, a device or a socket" for name in strangers]
        if wrong:
            raise RunDirectoryError(
                f"output_dir {self.root}: {', '.join(wrong)}, and a run goes on only with what it wrote; remove it, or choose another "
                "output_dir"
            )

    def _refuse_losses(self, accepted: Sequence[str]) -> None:
        """Raise RunDirectoryError for records that were there and are gone, but for those whose loss is accepted."""
        has_checkpoints = any(self.checkpoints.glob("step-*"))
        lost = {}
        if has_checkpoints and not self.metrics.exists():
            lost["metrics"] = f"{self.metrics}, the figures so far, is gone"
        if not has_checkpoints and self._saved():
            lost["checkpoints"] = (
                f"{self.checkpoints}, where the run was saved, holds no checkpoint: it would start over"
            )
        unnamed = [name for name in lost if name not in accepted]
        if unnamed:
            raise RunDirectoryError(
                f"{'; '.join(lost[name] for name in unnamed)}; put it back, choose another output_dir, or go on without by "
                f"checkpoint.accept=[{', '.join([*accepted, *unnamed])}]"
            )

    def _saved(self) -> bool:
        """Whether the run was ever saved, as far as its events tell; without them it is presumed."""
        try:
            lines = self.events.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return True
        return any('"event": "checkpoint",' in line for line in lines)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory, and hold it for this process. Raises RunDirectoryError if that cannot be, or another process holds it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RunDirectoryError(
                f"output_dir {self.root} cannot be made or written to: {error.strerror}; choose another output_dir"
            ) from error
        try:
            self._hold(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _hold(self, descriptor: int) -> None:
        """Lock the file of locks. Raises RunDirectoryError if another process has; where the file system has no locks, that is said."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunDirectoryError(
                f"another process trains in {self.root}; wait for it, or choose another output_dir"
            ) from error
        except OSError as error:
            remark(
                f"warning: the file system of {self.root} gives no locks ({error.strerror}): nothing keeps a second process from training "
                "there at the same time, which would spoil both"
            )

    def open(
        self, yaml_text: str, resolved: Mapping[str, Any], plugins: list[dict[str, Any]], place: Mapping[str, object]
    ) -> None:
        """Write down what the run is made of, and where it computes. The directory is :meth:`locked` and claimed.

        What killed processes were writing is swept away; a record of the run so far that is damaged is moved aside.
        """
        self.exit_reason.unlink(missing_ok=True)  # it would speak of an earlier process
        sweep(self.root)
        events = Events(self.events)
        if self.resolved_yaml.exists() and self._recorded() is None:
            events.warn("record_damaged", f"{self.resolved_yaml} is damaged and is now {aside(self.resolved_yaml)}")
        # The first file: by it the directory is known as a run's, whatever becomes of the others. For this machine alone: as it was said.
        write_text(self.resolved_yaml, signed(write_yaml(resolved)), 0o600)
        write_text(self.run_yaml, yaml_text, 0o600)
        write_text(self.reserve, " " * RESERVE)
        write_json(self.root / "plugins.json", [redact_mapping(row) for row in plugins])
        write_json(self.environment, redact_mapping({**environment(), **place, "opened": uuid.uuid4().hex}))
        events.note("started", "a process of this run begins")  # from here on, a run without events has lost them

    def mark(self) -> str:
        """What tells this run directory, as it was opened last, from every other."""
        return hashlib.sha256(self.environment.read_bytes()).hexdigest()

    def refuse_other(self, mark: str) -> None:
        """Raise RunDirectoryError in a process that sees another directory at this path than the one that opened it."""
        for _ in range(_TRIES):
            with contextlib.suppress(OSError):
                if self.mark() == mark:
                    return
            time.sleep(1.0)  # a shared file system may take a while to show what another machine wrote
        raise RunDirectoryError(
            f"output_dir {self.root} is not the same folder on all machines of the run; put it on a file system that they share"
        )

    def close(self, reason: str, **details: Any) -> None:
        """Write down how this process's part of the run ended, on a full disk too; what ended it is not hidden by a failure to."""
        ended = {"reason": reason, "time": datetime.now(UTC).isoformat(), **details}
        try:
            self.reserve.unlink(missing_ok=True)
            write_json(self.exit_reason, redact_mapping(ended))
        except OSError as error:
            remark(f"warning: {self.exit_reason} could not be written: {error.strerror}")


def _told(changes: Sequence[str]) -> str:
    """The first of what a run has other than another, and how many there are besides."""
    more = len(changes) - TOLD
    return "; ".join(changes[:TOLD]) + (f"; and {more} more" if more > 0 else "")


def environment() -> dict[str, Any]:
    """Versions and machine, for whoever must make the run again."""
    packages = ("torch", "numpy", "pyarrow", "pydantic", "pluggy", "distill-core")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "packages": {name: version(name) for name in packages},
    }
