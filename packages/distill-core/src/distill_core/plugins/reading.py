"""Reading one plugin: import its module, check its API number and its hooks, call them, keep what they add.

Each plugin gets a pluggy manager of its own. So a hook that raises aborts no other plugin's, a failed registration
leaves nothing behind (pluggy before 1.7 keeps the name), and what was added is known to be this plugin's. Says nothing
about other plugins: names taken twice are :mod:`distill_core.plugins.discovery`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from types import FunctionType, ModuleType

import pluggy

from distill_core.plugins import hookspecs
from distill_core.plugins.border import RefusedError, describe, plugin_border
from distill_core.plugins.registry import Registry
from distill_core.plugins.reward_spec import RewardSpec
from distill_core.plugins.specs import PLUGIN_API, ImporterSpec, MethodSpec, MetricSpec, ModelSpec, PluginSpec
from distill_core.terminal import remark

GROUP = "distill"
"""The group of entry points that plugins are stated in."""
MODELS_HOOK = "distill_register_models"
METHODS_HOOK = "distill_register_methods"
METRICS_HOOK = "distill_register_metrics"
REWARDS_HOOK = "distill_register_rewards"
IMPORTERS_HOOK = "distill_register_importers"
HOOKS = (MODELS_HOOK, METHODS_HOOK, METRICS_HOOK, REWARDS_HOOK, IMPORTERS_HOOK)

_Registry = (
    Registry[ModelSpec] | Registry[MethodSpec] | Registry[MetricSpec] | Registry[RewardSpec] | Registry[ImporterSpec]
)


@dataclass(frozen=True)
class Offer:
    """What one plugin offers.

    Attributes:
        specs: the families, methods, metrics, rewards and importers that it added, in this order.
        hooks: the hooks that it implements.
        refusal: why none of it can be used, or None. What was added before the fault is kept, to be shown, not used.
    """

    specs: tuple[PluginSpec, ...] = ()
    hooks: tuple[str, ...] = ()
    refusal: RefusedError | None = None


def read_plugin(entry_point: EntryPoint, *, trace: bool = False) -> Offer:
    """Import one plugin and call its hooks. Never raises for a fault of the plugin's; ``trace`` prints on stderr."""
    registries: dict[str, _Registry] = {
        MODELS_HOOK: Registry(ModelSpec),
        METHODS_HOOK: Registry(MethodSpec),
        METRICS_HOOK: Registry(MetricSpec),
        REWARDS_HOOK: Registry(RewardSpec),
        IMPORTERS_HOOK: Registry(ImporterSpec),
    }
    hooks: tuple[str, ...] = ()
    refusal = None
    try:
        module = _import(entry_point)
        _check_api(module)
        manager = _manager(module, entry_point, trace)
        callers = _checked_hooks(manager, module)
        hooks = tuple(name for name in HOOKS if name in callers)
        _call(callers, registries)
        if not any(registry.specs for registry in registries.values()):
            raise RefusedError("failed", "its hooks add no model, no method, no metric, no reward and no importer")
    except RefusedError as fault:
        refusal = fault
    specs = tuple(spec for registry in registries.values() for spec in registry.specs)
    return Offer(specs, hooks, refusal)


def _import(entry_point: EntryPoint) -> ModuleType:
    with plugin_border():
        plugin = entry_point.load()
    if not isinstance(plugin, ModuleType):
        found = f"{entry_point.value!r} is a {type(plugin).__name__}"
        raise RefusedError("failed", f"its entry point must name a module; {found}")
    return plugin


def _check_api(module: ModuleType) -> None:
    """Read the module's own constant, not one that a ``__getattr__`` of the module answers for."""
    namespace = vars(module)
    if "PLUGIN_API" not in namespace:
        raise RefusedError("incompatible", f"{module.__name__} does not say PLUGIN_API = {PLUGIN_API}")
    wanted = namespace["PLUGIN_API"]
    if not isinstance(wanted, int) or wanted != PLUGIN_API:
        newer = isinstance(wanted, int) and wanted > PLUGIN_API
        remedy = "upgrade distill-core" if newer else "upgrade the plugin"
        raise RefusedError("incompatible", f"wants plugin API {wanted!r}, core has {PLUGIN_API}; {remedy}")


def _manager(module: ModuleType, entry_point: EntryPoint, trace: bool) -> pluggy.PluginManager:
    manager = pluggy.PluginManager("distill")
    manager.add_hookspecs(hookspecs)
    if trace:
        _trace(manager, entry_point)
    with plugin_border():
        manager.register(module, name=entry_point.name)
    return manager


def _checked_hooks(manager: pluggy.PluginManager, module: ModuleType) -> Mapping[str, pluggy.HookCaller]:
    """The plugin's hooks by name, without the mistakes that pluggy lets pass."""
    callers = manager.get_hookcallers(module)
    assert callers is not None, "the module was registered just before"
    for caller in callers:
        for implementation in caller.get_hookimpls():
            if not caller.has_spec() and not implementation.optionalhook:
                raise RefusedError("failed", f"there is no hook {caller.name}; {_meant(caller.name)}")
            if implementation.kwargnames:
                names = ", ".join(implementation.kwargnames)
                raise RefusedError("failed", f"{caller.name}: a hook's argument has no default; remove that of {names}")
    known = {caller.name: caller for caller in callers if caller.has_spec()}
    for name in HOOKS:
        if name not in known and isinstance(vars(module).get(name), FunctionType):
            raise RefusedError("failed", f"{name} is not marked as a hook; put @hookimpl above it")
    return known


def _meant(name: str) -> str:
    close = get_close_matches(name, HOOKS, n=1)
    return f"did you mean {close[0]}?" if close else f"the hooks are {', '.join(HOOKS)}"


def _call(callers: Mapping[str, pluggy.HookCaller], registries: Mapping[str, _Registry]) -> None:
    for name, registry in registries.items():
        if name in callers:
            with plugin_border(name):
                callers[name](registry=registry)


def _trace(manager: pluggy.PluginManager, entry_point: EntryPoint) -> None:
    """Print every hook call of this plugin, and what came of it, on stderr."""

    def before(hook: str, implementations: Sequence[pluggy.HookImpl], arguments: Mapping[str, object]) -> None:
        """A hook is about to be called."""
        remark(f"distill plugins: {entry_point.name}: {hook}({', '.join(arguments)})")

    def after(
        outcome: pluggy.Result[object],
        hook: str,
        implementations: Sequence[pluggy.HookImpl],
        arguments: Mapping[str, object],
    ) -> None:
        """A hook has been called: what it added, or what it raised."""
        if outcome.exception is not None:
            result = f"raised {describe(outcome.exception)}"
        else:
            registry = arguments["registry"]
            assert isinstance(registry, Registry), "every hook takes a registry"
            result = f"added {', '.join(spec.name for spec in registry.specs) or 'nothing'}"
        remark(f"distill plugins: {entry_point.name}: {hook} -> {result}")

    manager.add_hookcall_monitoring(before, after)
