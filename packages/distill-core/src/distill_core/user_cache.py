"""Where a user's files lie that only save time: nothing is lost with them. Knows none of them."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(name: str) -> Path:
    """The folder ``name`` of ours in the user's cache (``XDG_CACHE_HOME``, or ``~/.cache``), whether it is there or not."""
    said = os.environ.get("XDG_CACHE_HOME", "")
    # A path that is not absolute counts for nothing, says the standard.
    root = Path(said) if os.path.isabs(said) else Path(os.path.expanduser("~"), ".cache")
    return root / "distill" / name
