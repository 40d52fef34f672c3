"""The installed plugins as one immutable answer: what there is, what can be chosen, and why something cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal, NoReturn, TypeVar

from distill_core.errors import PluginError
from distill_core.plugins.policy import BLOCK, LOAD, normal_name
from distill_core.plugins.reward_spec import RewardSpec
from distill_core.plugins.specs import ImporterSpec, Kind, MethodSpec, MetricSpec, ModelSpec, PluginSpec

SpecT = TypeVar("SpecT", ModelSpec, MethodSpec, MetricSpec, RewardSpec, ImporterSpec)
RowKind = Kind | Literal["-"]
Status = Literal["ok", "failed", "conflict", "incompatible", "blocked"]

NOWHERE = "-"
"""The package, version or entry point of a spec that did not come out of an installed package."""


@dataclass(frozen=True)
class PluginRow:
    """One model, method, metric, reward or importer, or a plugin that could not be asked what it offers.

    Attributes:
        name: what a run.yaml calls it; the entry point's name where the spec's is not known.
        kind: "model", "method", "metric", "reward", "importer", or "-" where it is not known.
        package: the distribution that brings it.
        version: the distribution's version.
        entry_point: ``name = value``, as the package states it.
        status: whether it can be chosen, and if not, why in one word.
        error: why not, in one line; empty for "ok".
        summary: the spec's own line.
        hooks: the hooks that the plugin implements.
        spec: what was added, or None where that is not known.
        cause: what the plugin raised, or None.
    """

    name: str
    kind: RowKind
    package: str
    version: str
    entry_point: str
    status: Status = "ok"
    error: str = ""
    summary: str = ""
    hooks: tuple[str, ...] = ()
    spec: PluginSpec | None = field(default=None, repr=False, compare=False)
    cause: BaseException | None = field(default=None, repr=False, compare=False)

    @property
    def status_line(self) -> str:
        """The status with its reason, as ``distill plugins list`` shows it."""
        return self.status if self.status in ("ok", "blocked") else f"{self.status}: {self.error}"

    @property
    def plight(self) -> str:
        """Why it cannot be chosen, as a sentence about the package."""
        verb = {"failed": "failed", "conflict": "is in conflict"}.get(self.status, f"is {self.status}")
        return f"{self.origin} {verb}: {self.error}"

    @property
    def origin(self) -> str:
        """Package, version and entry point, for a message."""
        return f"{self.package} {self.version} (entry point {self.entry_point})"

    def as_json(self) -> dict[str, str]:
        """The stable keys of ``distill plugins list --json`` and of a run's plugins.json."""
        return {
            "name": self.name,
            "kind": self.kind,
            "package": self.package,
            "version": self.version,
            "entry_point": self.entry_point,
            "status": self.status,
            "error": self.error,
            "summary": self.summary,
        }


@dataclass(frozen=True)
class PluginIndex:
    """All installed plugins.

    Attributes:
        rows: one per model, method, metric, reward, importer and unreadable plugin, in the order in which they are shown.
        unmatched: names in the load or block list that no plugin has.
    """

    rows: tuple[PluginRow, ...]
    unmatched: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        models: Iterable[ModelSpec] = (),
        methods: Iterable[MethodSpec] = (),
        metrics: Iterable[MetricSpec] = (),
        rewards: Iterable[RewardSpec] = (),
    ) -> PluginIndex:
        """An index of these specs, installed nowhere: for tests."""
        specs: tuple[PluginSpec, ...] = (*models, *methods, *metrics, *rewards)
        return cls(
            tuple(
                PluginRow(spec.name, spec.kind, NOWHERE, NOWHERE, NOWHERE, summary=spec.summary, spec=spec)
                for spec in specs
            )
        )

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """The families that can be chosen, by name."""
        return self._all(ModelSpec)

    @property
    def methods(self) -> Mapping[str, MethodSpec]:
        """The methods that can be chosen, by name."""
        return self._all(MethodSpec)

    @property
    def metrics(self) -> Mapping[str, MetricSpec]:
        """The metrics that can be chosen, by name."""
        return self._all(MetricSpec)

    @property
    def rewards(self) -> Mapping[str, RewardSpec]:
        """The rewards that can be chosen, by name."""
        return self._all(RewardSpec)

    @property
    def importers(self) -> Mapping[str, ImporterSpec]:
        """The importers that can be chosen, by name."""
        return self._all(ImporterSpec)

    def model(self, name: str) -> ModelSpec:
        """The family of that name. Raises PluginError, from the plugin's own exception, if it cannot be chosen."""
        return self._one(ModelSpec, name)

    def method(self, name: str) -> MethodSpec:
        """The method of that name. Raises PluginError, from the plugin's own exception, if it cannot be chosen."""
        return self._one(MethodSpec, name)

    def metric(self, name: str) -> MetricSpec:
        """The metric of that name. Raises PluginError, from the plugin's own exception, if it cannot be chosen."""
        return self._one(MetricSpec, name)

    def reward(self, name: str) -> RewardSpec:
        """The reward of that name. Raises PluginError, from the plugin's own exception, if it cannot be chosen."""
        return self._one(RewardSpec, name)

    def importer(self, name: str) -> ImporterSpec:
        """The importer of that name. Raises PluginError, from the plugin's own exception, if it cannot be chosen."""
        return self._one(ImporterSpec, name)

    def named(self, name: str) -> tuple[PluginRow, ...]:
        """Every row of that name or of that package, whatever its kind and status; ``-``, ``_`` and case make no difference.

        Raises PluginError, with the closest name, if there is none.
        """
        asked = normal_name(name)
        rows = tuple(row for row in self.rows if asked in (normal_name(row.name), normal_name(row.package)))
        if not rows:
            known = sorted({row.name for row in self.rows})
            packages = sorted({row.package for row in self.rows})
            close = "".join(f" Did you mean {close!r}?" for close in get_close_matches(asked, [*known, *packages], n=1))
            raise PluginError(f"There is no plugin {name!r}. Installed: {', '.join(known) or 'none'}.{close}")
        return rows

    @property
    def broken(self) -> tuple[PluginRow, ...]:
        """The rows that nobody asked to be unusable: failed, incompatible, or in conflict."""
        return tuple(row for row in self.rows if row.status not in ("ok", "blocked"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line per broken row and per name in the load and block lists that no plugin has."""
        broken = (f"{row.name} ({row.package} {row.version}) cannot be used, {row.status_line}" for row in self.broken)
        lists = f"{LOAD} or {BLOCK} (--no-plugin)"
        return (*broken, *(f"{lists} names {name!r}, and no plugin is known by that name" for name in self.unmatched))

    def _all(self, kind: type[SpecT]) -> Mapping[str, SpecT]:
        """Everything of a kind that can be chosen, by name."""
        usable = (row.spec for row in self.rows if row.status == "ok")
        return MappingProxyType({spec.name: spec for spec in usable if isinstance(spec, kind)})

    def _one(self, kind: type[SpecT], name: str) -> SpecT:
        """What can be chosen by that name. Raises PluginError if there is nothing."""
        spec = self._all(kind).get(name)
        return self._refuse(kind.kind, name) if spec is None else spec

    def _refuse(self, kind: Kind, name: str) -> NoReturn:
        """Raise the error for a name that cannot be chosen, from what its plugin raised if it raised."""
        culprits = [row for row in self.rows if row.name == name and row.kind in (kind, "-")]
        if not culprits:
            raise PluginError(self._unknown(kind, name))
        cause = next((row.cause for row in culprits if row.cause is not None), None)
        raise PluginError("\n".join(_why_not(kind, row) for row in culprits)) from cause

    def _unknown(self, kind: Kind, name: str) -> str:
        """The message for a name that nothing has: what is known, what is close, and where it may come from."""
        from distill_core.plugins.published import package_of

        kinds: dict[Kind, Mapping[str, PluginSpec]] = {
            "model": self.models,
            "method": self.methods,
            "metric": self.metrics,
            "reward": self.rewards,
            "importer": self.importers,
        }
        known = kinds[kind]
        other = next((other for other, specs in kinds.items() if name in specs), None)
        sentences = [f"There is no {kind} {name!r}."]
        sentences.append(f"Installed: {', '.join(sorted(known))}." if known else f"No {kind} is installed.")
        sentences += [f"Did you mean {close!r}?" for close in get_close_matches(name, known, n=1)]
        if other is not None:
            sentences.append(f"{name!r} is a {other}.")
        elif (package := package_of(kind, name)) is not None:
            sentences.append(f"`pip install {package}` brings it.")
        else:
            package = f"distill-{kind}-{normal_name(name)}"
            sentences.append(f"A guess from the name: `pip install {package}` may bring it.")
        unread = [f"{row.name} ({row.package}, {row.status})" for row in self.rows if row.spec is None]
        if unread:
            sentences.append(f"Not known is what these offer: {', '.join(unread)}; see `distill plugins list`.")
        return " ".join(sentences)


def _why_not(kind: str, row: PluginRow) -> str:
    """One line on a plugin that is there and cannot be chosen, with a remedy where the reason has none."""
    remedy = {
        "failed": f"; repair, upgrade or uninstall {row.package}",
        "blocked": "; take it off that list",
    }.get(row.status, "")
    where = "" if row.cause is None else " (DISTILL_TRACEBACK=1 shows where it failed)"
    return f"the {kind} {row.name!r} cannot be used: {row.plight}{remedy}{where}"
