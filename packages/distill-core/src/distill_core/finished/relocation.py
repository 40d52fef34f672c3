"""A run that was moved: where its models are now, and whether they are those that it was trained on. Loads no weight."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_core.checkpoint import Checkpoint, Identity
from distill_core.checkpoint.identity import Differences
from distill_core.errors import CheckpointError, RunDirectoryError
from distill_core.terminal import remark


def path_override(role: str, path: str) -> str:
    """The override that says where a role's folder is."""
    return f"roles.{role}.path={json.dumps(path, ensure_ascii=False)}"


def relocated(resolved: Mapping[str, Any], root: Path) -> list[str]:
    """Overrides for a run that may be on another machine: its device is left to that, and folders that are no longer where they were, but
    lie as they lay, seen from its run directory, are taken from there.

    ``resolved``: the run as it was trained; ``root``: its directory as it is now.
    """
    overrides = ["training.device=auto"]
    for name, role in resolved["roles"].items():
        moved = _moved(role["path"], resolved["output_dir"], root)
        if moved is not None:
            overrides.append(path_override(name, moved))
        loras = role.get("fixed_loras", [])
        found = [(each, _moved(each["path"], resolved["output_dir"], root)) for each in loras]
        if any(place is not None for _, place in found):
            there = [each if place is None else {**each, "path": place} for each, place in found]
            overrides.append(f"roles.{name}.fixed_loras={json.dumps(there, ensure_ascii=False)}")
    return overrides


def _moved(path: str | None, output_dir: str, root: Path) -> str | None:
    """Where a path that is no longer there lies as it lay, seen from the run directory; None if it is there, or nowhere."""
    if path is None or not os.path.isabs(path) or os.path.exists(path):
        return None
    moved = os.path.abspath(root / os.path.relpath(path, output_dir))
    return moved if os.path.exists(moved) else None


def refuse_absent(resolved: Mapping[str, Any], role: str | None, overrides: list[str]) -> None:
    """Raise RunDirectoryError if the folder of a role is neither where it was nor where ``overrides`` have found it."""
    path = None if role is None or role not in resolved["roles"] else resolved["roles"][role]["path"]
    if path is None or not os.path.isabs(path) or os.path.exists(path):
        return
    if not any(override.startswith(f"roles.{role}.path=") for override in overrides):
        raise RunDirectoryError(
            f"{path}, which {role} started from, is not there, nor did it move along with the run; name the folder by --base"
        )


def compare(checkpoint: Checkpoint, found: Mapping[str, str], folder: Path, *, named: bool) -> None:
    """Raise CheckpointError if a role rests on other things than its checkpoint records; if a person ``named`` the folder, say so only."""
    recorded = checkpoint.manifest().identity.rests_on
    there = Identity(rests_on={name: recorded[name] for name in found if name in recorded})
    here = Identity(rests_on={name: text for name, text in found.items() if name in recorded})
    differences = Differences.between(there, here, ())
    said = [f"whether {name} is what it was cannot be told" for name in differences.incomparable]
    if differences.rests_on:
        other = f"{folder} is not what {checkpoint.path} was trained from ({'; '.join(differences.rests_on.values())})"
        if not named:
            raise CheckpointError(f"{other}; put back what it was, or name the folder to take all the same by --base")
        said.append(other)
    for text in said:
        remark(f"warning: {text}")
