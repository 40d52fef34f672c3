"""What this package offers to distill. Imports no numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_core.plugins import MetricSpec, hookimpl
from distill_metric_drift.config import DriftOptions

if TYPE_CHECKING:
    from distill_core.plugins.registry import Registry

PLUGIN_API = 2


@hookimpl
def distill_register_metrics(registry: Registry[MetricSpec]) -> None:
    """Offer the measure of drift."""
    registry.add(
        MetricSpec(
            name="drift",
            summary="how far colour, contrast and place are at a clip's end from its beginning",
            options=DriftOptions,
            build="distill_metric_drift.metric:DriftMetric",
            headline=("colour", "contrast", "place"),
        )
    )
