"""The folder that a data set is made in, and that takes the data set's name when all of it is there.

``data/clips`` is made in ``data/.clips.encoding``, which is left behind when encoding is stopped: the next command goes on with it.
Knows files and processes; what is encoded, and what a row is, is said by its callers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distill_core.data.encoding.report import Fate, check_something_was_encoded, read_report, write_report
from distill_core.data.encoding.shard import Shard
from distill_core.data.encoding.store import keep_rows, source_names
from distill_core.data.reading.files import read_facts
from distill_core.data.reading.index import NAME as INDEX
from distill_core.data.reading.origin import Origin
from distill_core.errors import RunDirectoryError

REPORT = "_report.jsonl"
PREVIEW = "_preview.html"


class EncodingFolder:
    """The work on one data set, or on one shard of it.

    Attributes:
        output: where the data set is to be.
        work: where it is made.
        shard: the part of it that this process makes.
        named_by: what names ``output`` to a person: an option of a command, or a key of a run.yaml.
    """

    def __init__(self, output: Path, shard: Shard, named_by: str = "--output") -> None:
        self.output = output
        self.named_by = named_by
        self.work = output.with_name(f".{output.name}.encoding")
        self.shard = shard

    def check(self, origin: Origin, names: Sequence[str], *, overwrite: bool) -> None:
        """Raise RunDirectoryError if this command may not write to ``output``.

        A data set that the same settings have made may be gone on with, so long as no row is lost: all of ``names`` that it has
        rows of are still there. With ``overwrite`` any data set may be replaced, and nothing else: a folder that holds
        other files is never touched.
        """
        if self.output.exists():
            if not self.output.is_dir():
                raise RunDirectoryError(f"{self.output} is a file; name a folder with {self.named_by}")
            content = sorted(self.output.iterdir())
            foreign = [path.name for path in content if not _is_ours(path)]
            if foreign:
                raise RunDirectoryError(
                    f"{self.output} is not empty: it holds {foreign[0]}, which is no part of a data set; name another folder with "
                    f"{self.named_by}"
                )
            if not overwrite:
                for path in content:
                    if path.suffix == ".parquet":
                        self._check_continues(path, origin, set(names))

    def _check_continues(self, path: Path, origin: Origin, names: set[str]) -> None:
        """Raise RunDirectoryError if rows of a file would not be part of the new data set."""
        remedy = f"name another folder with {self.named_by}, or replace it with --overwrite"
        facts = read_facts(path, self.output)
        before = Origin.of(facts.metadata)
        if before is None:
            raise RunDirectoryError(f"{self.output} is not empty, and not of distill's making; {remedy}")
        if difference := origin.difference(before):
            raise RunDirectoryError(f"{self.output} holds data of other settings ({difference}); {remedy}")
        lost = [name for name in source_names(path) if name not in names]
        if lost:
            raise RunDirectoryError(
                f"{self.output} holds {lost[0]}, which is not in the source that it is to be made from now; {remedy}"
            )

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the folder to work in, with what is encoded already, and hold this shard of it.

        Raises RunDirectoryError if it cannot be made, or another process works on the shard.
        """
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            lock = (self.work / f".lock{self.shard.suffix}").open("w")
        except OSError as error:
            raise RunDirectoryError(f"{self.named_by} {self.output} cannot be made: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunDirectoryError(
                    f"another process is making {self.output}; wait for it, or share the work with --shard"
                ) from error
            self._report(self.shard).unlink(missing_ok=True)
            for path in self.output.glob("*.parquet"):
                _link(path, self.work / path.name)
            try:
                yield
            finally:
                self._remove_if_vain()

    def finish(self, fates: Sequence[Fate]) -> bool:
        """Write the report of this shard; the last of all shards publishes the data set. Whether this one was the last.

        Raises DataError, and leaves ``output`` as it was, if no shard has encoded anything.
        """
        with (self.work / ".lock-finish").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            write_report(self._report(self.shard), fates)
            reports = [self._report(shard) for shard in self.shard.siblings()]
            if not all(report.exists() for report in reports):
                return False
            everything = [fate for report in reports for fate in read_report(report)]
            try:
                check_something_was_encoded(everything)
            finally:
                for report in reports:
                    report.unlink()
            self._publish(everything)
            return True

    def _publish(self, fates: Sequence[Fate]) -> None:
        """Leave only the rows that the fates speak of, and take the place of ``output``."""
        wanted = {fate.identity for fate in fates if fate.encoded}
        for path in sorted(self.work.glob("*.parquet")):
            keep_rows(path, wanted)
        assert not wanted, f"rows are missing: {sorted(wanted)[:3]}"
        write_report(self.work / REPORT, fates)
        for path in self.work.glob(".*"):
            path.unlink()
        replaced = self.output.with_name(f".{self.output.name}.old-{os.getpid()}")
        try:
            if self.output.exists():
                os.replace(self.output, replaced)
            os.replace(self.work, self.output)
        finally:
            if replaced.exists() and not self.output.exists():
                os.replace(replaced, self.output)
            shutil.rmtree(replaced, ignore_errors=True)

    def _report(self, shard: Shard) -> Path:
        """A shard's report, which says that it is done; hidden until the data set is whole."""
        return self.work / f".report{shard.suffix}.jsonl"

    def _remove_if_vain(self) -> None:
        """Leave nothing behind where nothing was encoded; what other shards have done is not this one's to remove."""
        if self.shard.count > 1 or not self.work.exists():
            return
        if not any(_is_new(path, self.output / path.name) for path in self.work.glob("*.parquet")):
            shutil.rmtree(self.work)


def _is_ours(path: Path) -> bool:
    """Whether a file is one that a folder of data may hold."""
    return path.is_file() and (path.suffix == ".parquet" or path.name in (REPORT, PREVIEW, INDEX))


def _is_new(path: Path, before: Path) -> bool:
    """Whether a file is not one that the data set has already."""
    return not (before.exists() and path.samefile(before))


def _link(path: Path, to: Path) -> None:
    """The same file under a second name, without a copy where the file system can."""
    if not to.exists():
        try:
            os.link(path, to)
        except FileExistsError:
            pass  # another shard was quicker
        except OSError:
            shutil.copy2(path, to)
