"""Where a pipeline folder is: on this disk, or on the Hugging Face Hub, of which the JSON files come first and weights when asked.

Why a hub id cannot be had is said by :mod:`distill_core.hub`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_core.hub import may_be_hub_id, snapshot

_DESCRIPTIONS = ["model_index.json", "distill.json", "*/config.json", "*/*_config.json"]


@dataclass(frozen=True)
class Located:
    """A folder on this disk, and the hub id whose snapshot it is, if it is one."""

    folder: Path
    hub_id: str | None = None


def locate(path: str) -> Located:
    """Find the folder that ``path`` means; of a hub id, fetch the descriptions. Raises ModelFolderError, quickly, if there is none."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return Located(folder)
    if folder.exists():
        raise ModelFolderError(f"{path} is a file; expected the folder of a diffusers pipeline")
    if not may_be_hub_id(path):
        raise ModelFolderError(f"{path} does not exist{_neighbours(folder)}")
    return Located(snapshot(path, _DESCRIPTIONS, ModelFolderError), path)


def fetch(folder: Path, hub_id: str | None, part: str) -> None:
    """Make sure that the files of one part (e.g. "vae") are on this disk."""
    if hub_id is not None:
        snapshot(
            hub_id, [f"{part}/*"], ModelFolderError, revision=folder.name
        )  # a snapshot's folder is named by its commit


def _neighbours(folder: Path) -> str:
    """What stands where a missing folder was looked for, to make a typing error plain."""
    if not folder.parent.is_dir():
        return f", nor does {folder.parent}"
    names = sorted(entry.name for entry in folder.parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return f"; {folder.parent.resolve()} holds {', '.join(names[:8]) or 'no folders'}"
