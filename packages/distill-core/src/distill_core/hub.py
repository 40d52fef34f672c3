"""Repositories of the Hugging Face Hub: what is an id of one, a snapshot of one on this disk, and the one line that says why there is none.

Imports huggingface_hub only where something is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from distill_core.errors import DistillError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

RepoType = Literal["model", "dataset"]


def may_be_hub_id(path: str) -> bool:
    """Whether a path that is not there can be meant as ``owner/name`` on the Hub.

    "data/clips" looks like a hub id; where "data" is a folder here, it is a mistyped path, and the Hub need not be asked.
    """
    return _HUB_ID.fullmatch(path) is not None and not Path(path).parent.is_dir()


def snapshot(
    hub_id: str,
    patterns: Sequence[str],
    refusal: type[DistillError],
    *,
    repo: RepoType = "model",
    revision: str | None = None,
) -> Path:
    """The files of a repository that are of these patterns, in a folder that is named by its commit. Fetches what the cache lacks.

    ``revision``: a branch, a tag or a commit; None is the main branch. Raises ``refusal``, in one line, if they cannot be had.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, repo_type=repo, revision=revision, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:
        raise refusal(f"{hub_id} is no folder here, and {_why_not(error, repo, revision)}") from error


def _why_not(error: OSError | ValueError, repo: RepoType, revision: str | None) -> str:
    """Why a repository could not be had, and what can be done about it, in one line."""
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    kind = "repository" if repo == "model" else "data set"
    if is_offline_mode():
        return (
            "HF_HUB_OFFLINE forbids asking the Hugging Face Hub for what its cache lacks; unset it, or name a folder that "
            "was downloaded"
        )
    if isinstance(error, GatedRepoError):
        return "its authors grant access on the Hugging Face Hub; ask for it on its page, then `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return f"the Hugging Face Hub shows no {kind} of that name; check the spelling, or `hf auth login` if it is private"
    if isinstance(error, RevisionNotFoundError):
        return f"its {kind} on the Hugging Face Hub has no branch, tag or commit {revision!r}; check the spelling"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            "the Hugging Face Hub could not be reached, nor does its cache have it; check the network, or name a folder that "
            "was downloaded"
        )
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return f"the Hugging Face Hub refused it: {reason}; check the spelling, or name a folder that was downloaded"
