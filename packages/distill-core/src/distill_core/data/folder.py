"""An output folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_core.errors import RunDirectoryError

REPORT = "report.jsonl"


def check_output(output: Path, overwrite: bool) -> None:
    """Raise RunDirectoryError if a data set may not be written to ``output``.

    With ``overwrite`` a data set may be replaced, and nothing else: a folder that holds other files is never removed.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise RunDirectoryError(f"{output} is a file; name a folder with --output")
    content = sorted(path.name for path in output.iterdir())
    if content and not overwrite:
        raise RunDirectoryError(
            f"{output} is not empty; name another folder with --output, or replace it with --overwrite"
        )
    foreign = [name for name in content if name != REPORT and not name.endswith(".parquet")]
    if foreign:
        raise RunDirectoryError(
            f"{output} holds {foreign[0]}, which is no part of a data set; name another folder with --output"
        )


@contextmanager
def published(output: Path) -> Iterator[Path]:
    """A folder to write into; it takes the place of ``output`` on leaving, and is removed after an error."""
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f".{output.name}.tmp-{os.getpid()}")
    replaced = output.with_name(f".{output.name}.old-{os.getpid()}")
    try:
        beside.mkdir()
        yield beside
        if output.exists():
            os.replace(output, replaced)
        os.replace(beside, output)
    finally:
        if replaced.exists() and not output.exists():
            os.replace(replaced, output)
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
