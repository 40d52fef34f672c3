"""Plugins: what they say of themselves (specs), how they are found (discovery) and what a run may choose from (registry)."""

from distill_core.plugins.columns import Column
from distill_core.plugins.hookspecs import hookimpl
from distill_core.plugins.reward_spec import RewardOptions, RewardSpec
from distill_core.plugins.specs import (
    PLUGIN_API,
    Demands,
    ImporterSpec,
    LatentSpace,
    MethodSpec,
    MetricSpec,
    ModelFacts,
    ModelSpec,
    Options,
    RoleNeed,
    RunSize,
)

__all__ = [
    "PLUGIN_API",
    "Column",
    "Demands",
    "ImporterSpec",
    "LatentSpace",
    "MethodSpec",
    "MetricSpec",
    "ModelFacts",
    "ModelSpec",
    "Options",
    "RewardOptions",
    "RewardSpec",
    "RoleNeed",
    "RunSize",
    "hookimpl",
]
