"""Whether a folder that a command is to make can be made: asked before anything is computed for it. Makes no folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from distill_core.errors import RunDirectoryError


def check_output_folder(output: Path, *, must_be_new: bool = False) -> None:
    """Refuse a folder that nothing could be written to; with ``must_be_new`` also one that holds something.

    Only an attempt tells: permissions say nothing of read-only disks and of file systems that take no folder. So a folder is
    made in the nearest one that is there, and removed at once. Raises RunDirectoryError.
    """
    if output.exists() and not output.is_dir():
        raise RunDirectoryError(f"{output} is a file; name a folder with --output")
    if must_be_new and output.is_dir() and any(output.iterdir()):
        raise RunDirectoryError(f"{output} is not empty; name another folder with --output, or remove it")
    place = output.absolute()
    nearest = next(folder for folder in (place, *place.parents) if folder.exists())
    try:
        with TemporaryDirectory(prefix=".distill-", dir=nearest):
            pass
    except OSError as error:
        fault = f"{output} cannot be written: {nearest}: {error.strerror}"
        raise RunDirectoryError(f"{fault}; name another folder with --output") from error
