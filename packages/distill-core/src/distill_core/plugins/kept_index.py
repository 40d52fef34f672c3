"""The installed plugins, of which only those are imported that are asked for by name, as long as what is kept of them holds.

All else that an index is asked for, and a name that is kept as none that can be chosen, is asked of all plugins.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, NoReturn, cast

from distill_core.kept_plugins import Listing, keep, kept
from distill_core.plugins.index import PluginIndex, PluginRow, SpecT
from distill_core.plugins.reading import GROUP, read_plugin
from distill_core.plugins.specs import Kind

if TYPE_CHECKING:
    from distill_core.plugins.index import RowKind, Status


def installed() -> PluginIndex:
    """All plugins of this environment, as :func:`distill_core.plugins.discovery.discover` has them, read as they are needed."""
    found = kept()
    return _asked() if found is None else KeptIndex(_rows(found), found.unmatched)


def _asked() -> PluginIndex:
    from distill_core.plugins.discovery import discover

    index = discover()
    keep(index)
    return index


def _rows(found: Listing) -> tuple[PluginRow, ...]:
    """The rows as they were, without what was added."""
    return tuple(_row(row.shown, row.hooks) for row in found.rows)


def _row(shown: Mapping[str, str], hooks: tuple[str, ...]) -> PluginRow:
    return PluginRow(
        name=shown["name"],
        kind=cast("RowKind", shown["kind"]),
        package=shown["package"],
        version=shown["version"],
        entry_point=shown["entry_point"],
        status=cast("Status", shown["status"]),
        error=shown["error"],
        summary=shown["summary"],
        hooks=hooks,
    )


class KeptIndex(PluginIndex):
    """An index out of what is kept: its rows have no specs."""

    @cached_property
    def _whole(self) -> PluginIndex:
        return _asked()

    @cached_property
    def _read(self) -> dict[str, tuple[object, ...]]:
        """What the plugins offer that have been imported, by entry point."""
        return {}

    def _all(self, kind: type[SpecT]) -> Mapping[str, SpecT]:
        return self._whole._all(kind)

    def _one(self, kind: type[SpecT], name: str) -> SpecT:
        for row in self.rows:
            if (row.kind, row.name, row.status) == (kind.kind, name, "ok"):
                for spec in self._offered(row):
                    if isinstance(spec, kind) and spec.name == name:
                        return spec
        return self._whole._one(kind, name)

    def _offered(self, row: PluginRow) -> tuple[object, ...]:
        """What the plugin of a row adds; nothing where that is not, in kind, name and summary, what it was."""
        if row.entry_point not in self._read:
            name, _, value = row.entry_point.partition(" = ")
            offer = read_plugin(EntryPoint(name, value, GROUP))
            was = {(each.kind, each.name, each.summary, each.hooks) for each in self.rows if each.origin == row.origin}
            now = {(spec.kind, spec.name, spec.summary, offer.hooks) for spec in offer.specs}
            self._read[row.entry_point] = offer.specs if offer.refusal is None and was == now else ()
        return self._read[row.entry_point]

    def named(self, name: str) -> tuple[PluginRow, ...]:
        """Every row of that name or of that package, with its spec; see :meth:`PluginIndex.named`."""
        return self._whole.named(name)

    def _refuse(self, kind: Kind, name: str) -> NoReturn:
        self._whole._refuse(kind, name)
