"""What this package offers to distill. Imports no numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_core.plugins import MetricSpec, RewardSpec, hookimpl
from distill_metric_shapes.config import ShapesOptions, ShapesRewardOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2


@hookimpl
def distill_register_metrics(registry: Registry[MetricSpec]) -> None:
    """Offer the judge of the shapes world."""
    registry.add(
        MetricSpec(
            name="shapes",
            summary="whether videos of the shapes world show their captions, and how varied they are",
            options=ShapesOptions,
            build="distill_metric_shapes.metric:ShapesMetric",
            headline=("all_correct", "held_out_correct", "energy_distance", "coverage", "spread"),
        )
    )


@hookimpl
def distill_register_rewards(registry: Registry[RewardSpec]) -> None:
    """Offer the judge made soft."""
    registry.add(
        RewardSpec(
            name="shapes",
            summary="how well clips of the shapes world show their captions, with a gradient",
            options=ShapesRewardOptions,
            build="distill_metric_shapes.reward:ShapesReward",
            differentiable=True,
        )
    )
