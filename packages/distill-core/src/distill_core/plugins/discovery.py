"""Finding plugins: the entry points of the group ``distill``, each read on its own, put together into one index.

Nothing here selects: a plugin that is found changes nothing until a run.yaml names it. What is wrong with one plugin
is a row of the index, never an exception.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points

from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.index import NOWHERE, PluginIndex, PluginRow, RowKind
from distill_core.plugins.policy import LOAD, LoadPolicy, normal_name
from distill_core.plugins.reading import GROUP, Offer, read_plugin
from distill_core.plugins.specs import PluginSpec
from distill_core.unswept import unswept

TRACE = "DISTILL_TRACE_PLUGINS"

_KIND_ORDER: dict[RowKind, int] = {"model": 0, "method": 1, "metric": 2, "reward": 3, "importer": 4, "-": 5}


@dataclass(frozen=True)
class _Installed:
    """An entry point and the package that states it; ``fault`` says why the package's metadata cannot be read."""

    entry_point: EntryPoint
    package: str
    version: str
    fault: RefusedError | None = None

    @property
    def names(self) -> tuple[str, str]:
        """What it goes by before it is imported."""
        return (self.entry_point.name, self.package)

    def row(self, spec: PluginSpec | None = None) -> PluginRow:
        """A row of this plugin, or of one spec of it, that can be chosen."""
        stated = f"{self.entry_point.name} = {self.entry_point.value}"
        if spec is None:
            return PluginRow(self.entry_point.name, "-", self.package, self.version, stated)
        return PluginRow(spec.name, spec.kind, self.package, self.version, stated, summary=spec.summary, spec=spec)


def discover() -> PluginIndex:
    """All plugins of this environment.

    Reads ``DISTILL_LOAD_PLUGINS`` and ``DISTILL_BLOCK_PLUGINS``; ``DISTILL_TRACE_PLUGINS=1`` prints hook calls.
    """
    policy = LoadPolicy.of(os.environ)
    trace = os.environ.get(TRACE, "0") not in ("", "0")
    plugins = _installed()
    names = [name for plugin in plugins for name in plugin.names]
    search = bool(policy.unlisted(names))
    with unswept():
        rows = [row for plugin in plugins for row in _rows(plugin, policy, trace, search)]
    return PluginIndex(
        rows=tuple(sorted(_with_conflicts(rows), key=lambda row: (_KIND_ORDER[row.kind], row.name, row.package))),
        unmatched=policy.unmatched([*names, *(row.name for row in rows)]),
    )


def _installed() -> list[_Installed]:
    """Every plugin once.

    ``entry_points`` takes a package that is found twice (editable and wheel) once, as the import system does; a package
    that states one module under two names is taken once here. Neither is a conflict of a plugin with itself.
    """
    found: dict[tuple[str, str], _Installed] = {}
    for entry_point in entry_points(group=GROUP):
        plugin = _with_package(entry_point)
        found.setdefault((normal_name(plugin.package), entry_point.value), plugin)
    return list(found.values())


def _with_package(entry_point: EntryPoint) -> _Installed:
    assert entry_point.dist is not None, "importlib.metadata sets it on every entry point that it finds"
    try:
        with plugin_border("reading the package's metadata"):
            metadata = entry_point.dist.metadata
            if not ("Name" in metadata and "Version" in metadata):
                raise RefusedError("failed", "its package's metadata have no name or no version; reinstall it")
            return _Installed(entry_point, metadata["Name"], metadata["Version"])
    except RefusedError as fault:
        return _Installed(entry_point, NOWHERE, NOWHERE, fault)


def _rows(plugin: _Installed, policy: LoadPolicy, trace: bool, search: bool) -> list[PluginRow]:
    """What one plugin has to show. ``search``: the load list holds names that may turn out to be those of specs."""
    blocked = policy.blocks(*plugin.names)
    listed = policy.allows(*plugin.names)
    if blocked is None and not listed and not search:
        blocked = f"not in {LOAD}"
    if blocked is not None:
        return [replace(plugin.row(), status="blocked", error=blocked)]
    offer = read_plugin(plugin.entry_point, trace=trace) if plugin.fault is None else Offer(refusal=plugin.fault)
    rows = [plugin.row(spec) for spec in offer.specs] or [plugin.row()]
    return [_judged(replace(row, hooks=offer.hooks), offer.refusal, policy, listed) for row in rows]


def _judged(row: PluginRow, refusal: RefusedError | None, policy: LoadPolicy, listed: bool) -> PluginRow:
    """The row with its status. One that is blocked by its own name is blocked, whatever else is the matter with it."""
    blocked = policy.blocks(row.name)
    if blocked is None and not listed and not policy.allows(row.name):
        blocked = f"not in {LOAD}"
    if blocked is not None:
        return replace(row, status="blocked", error=blocked)
    if refusal is not None:
        return replace(row, status=refusal.status, error=refusal.reason, cause=refusal.__cause__)
    return row


def _with_conflicts(rows: Iterable[PluginRow]) -> list[PluginRow]:
    """Of two rows that could be chosen by one name, neither can."""
    rivals: dict[tuple[RowKind, str], list[PluginRow]] = defaultdict(list)
    for row in rows:
        if row.status == "ok":
            rivals[row.kind, row.name].append(row)
    return [_with_rivals(row, rivals[row.kind, row.name]) if row.status == "ok" else row for row in rows]


def _with_rivals(row: PluginRow, rivals: Sequence[PluginRow]) -> PluginRow:
    others = [other for other in rivals if other is not row]
    if not others:
        return row
    if any(other.package != row.package for other in others):
        names = [other.package for other in others if other.package != row.package]
    else:
        names = [other.entry_point.partition(" = ")[0] for other in others]
    reason = f"also offered by {', '.join(names)}; block one with --no-plugin {names[0]}"
    return replace(row, status="conflict", error=reason)
