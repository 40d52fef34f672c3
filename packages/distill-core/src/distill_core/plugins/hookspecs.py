"""The hooks that a plugin may implement: the whole contract between the core and packages that it has never seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry
    from distill_core.plugins.reward_spec import RewardSpec
    from distill_core.plugins.specs import ImporterSpec, MethodSpec, MetricSpec, ModelSpec

hookspec = pluggy.HookspecMarker("distill")
hookimpl = pluggy.HookimplMarker("distill")


@hookspec
def distill_register_models(registry: Registry[ModelSpec]) -> None:
    """Add the model families of this package: ``registry.add(ModelSpec(...))`` for each."""


@hookspec
def distill_register_methods(registry: Registry[MethodSpec]) -> None:
    """Add the methods of this package: ``registry.add(MethodSpec(...))`` for each."""


@hookspec
def distill_register_metrics(registry: Registry[MetricSpec]) -> None:
    """Add the metrics of this package: ``registry.add(MetricSpec(...))`` for each."""


@hookspec
def distill_register_rewards(registry: Registry[RewardSpec]) -> None:
    """Add the rewards of this package: ``registry.add(RewardSpec(...))`` for each."""


@hookspec
def distill_register_importers(registry: Registry[ImporterSpec]) -> None:
    """Add the importers of this package: ``registry.add(ImporterSpec(...))`` for each."""
