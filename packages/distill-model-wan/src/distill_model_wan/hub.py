"""Where a pipeline folder is: on this disk, or on the Hugging Face Hub, of which the JSON files come first and weights when asked.

Imports huggingface_hub only where a path is a hub id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from distill_core.errors import ModelFolderError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
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
    # "models/wan" looks like a hub id; where "models" is a folder here, it is a mistyped path, and the hub need not be asked.
    if not _HUB_ID.fullmatch(path) or folder.parent.is_dir():
        raise ModelFolderError(f"{path} does not exist{_neighbours(folder)}")
    return Located(_snapshot(path, None, _DESCRIPTIONS), path)


def fetch(folder: Path, hub_id: str | None, part: str) -> None:
    """Make sure that the files of one part (e.g. "vae") are on this disk."""
    if hub_id is not None:
        _snapshot(hub_id, folder.name, [f"{part}/*"])  # a snapshot's folder is named by its commit


def _neighbours(folder: Path) -> str:
    """What stands where a missing folder was looked for, to make a typing error plain."""
    if not folder.parent.is_dir():
        return f", nor does {folder.parent}"
    names = sorted(entry.name for entry in folder.parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return f"; {folder.parent.resolve()} holds {', '.join(names[:8]) or 'no folders'}"


def _snapshot(hub_id: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{hub_id} is no folder here, and {_why_not(error)}") from error


def _why_not(error: OSError | ValueError) -> str:
    """Why a repository could not be had, and what can be done about it, in one line."""
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    if is_offline_mode():
        return (
            "HF_HUB_OFFLINE forbids asking the Hugging Face Hub for what its cache lacks; unset it, or name a folder that "
            "was downloaded"
        )
    if isinstance(error, GatedRepoError):
        return "its authors grant access on the Hugging Face Hub; ask for it on its page, then `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hugging Face Hub shows no repository of that name; check the spelling, or `hf auth login` if it is private"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            "the Hugging Face Hub could not be reached, nor does its cache have it; check the network, or name a folder that "
            "was downloaded"
        )
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return f"the Hugging Face Hub refused it: {reason}; check the spelling, or name a folder that was downloaded"
