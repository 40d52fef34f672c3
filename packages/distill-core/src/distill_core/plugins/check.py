"""Importing for real what a plugin only names: what ``distill plugins check`` does, and a run would do later."""

from __future__ import annotations

from dataclasses import dataclass

from distill_core.errors import PluginError
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.index import PluginRow
from distill_core.plugins.loading import load_target


@dataclass(frozen=True)
class Outcome:
    """What the check of one row found: whether it failed, one line on it, and what the plugin raised if it raised."""

    failed: bool
    line: str
    cause: BaseException | None = None


def check_row(row: PluginRow) -> Outcome:
    """Import the targets of a usable row and make the JSON Schema of its options. A blocked row passes, any other fails."""
    if row.spec is None or row.status != "ok":
        return Outcome(row.status != "blocked", row.status_line, row.cause)
    try:
        for target in row.spec.targets.values():
            load_target(target)
        with plugin_border("the JSON Schema of its options"):
            row.spec.options.model_json_schema()
    except (PluginError, RefusedError) as error:
        return Outcome(True, f"failed: {error}", error.__cause__)
    return Outcome(False, "ok")
