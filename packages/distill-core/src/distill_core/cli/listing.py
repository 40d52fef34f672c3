"""What ``distill plugins list`` shows: what is kept of the plugins, or, where that does not hold, what they say."""

from __future__ import annotations

from distill_core.cli.leaving import leaving
from distill_core.cli.table import print_table
from distill_core.kept_plugins import Listing, keep, kept
from distill_core.terminal import remark


def listing() -> Listing:
    """The installed plugins: as they were, if nothing has changed since, or asked now."""
    found = kept()
    if found is not None:
        return found
    from distill_core.plugins.discovery import discover

    return keep(discover())


def tell_kept() -> None:
    """``distill plugins list`` out of what is kept, and leave by SystemExit; nothing, if nothing is.

    It needs no command line, which takes four times as long to build as this to be told.
    """
    with leaving():
        found = kept()
        if found is not None:
            tell(found)
            raise SystemExit(0)


def tell(found: Listing, *, hooks: bool = False) -> None:
    """Print a listing: the warnings on stderr, then the table."""
    for warning in found.warnings:
        remark(f"warning: {warning}")
    headers = ("NAME", "KIND", "PACKAGE", "VERSION", *(("HOOKS",) if hooks else ()), "STATUS")
    cells = (
        (
            *(row.shown[key] for key in ("name", "kind", "package", "version")),
            *((" ".join(row.hooks),) if hooks else ()),
            row.status_line,
        )
        for row in found.rows
    )
    print_table(headers, cells)
    if not found.rows:
        remark(
            "no plugin is installed; install a model and a method, packages named distill-model-… and distill-method-…"
        )
