"""The metrics of a run, applied to sampled videos. What a metric raises is a warning: a broken measure ends no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from distill_core.errors import DistillError
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.loading import make_target
from distill_core.plugins.specs import MetricSpec, Options
from distill_core.protocols.metric import Metric
from distill_core.protocols.validator import SampledVideo
from distill_core.tracking.events import Events


@dataclass(frozen=True)
class Measures:
    """All metrics of a run, by name.

    Attributes:
        metrics: what measures.
        headline: the figures that a table shows, as ``metric/figure``, in its order.
    """

    metrics: Mapping[str, Metric]
    headline: tuple[str, ...]

    @classmethod
    def of(cls, specs: Mapping[str, MetricSpec], options: Mapping[str, Options]) -> Measures:
        """Import and build the metrics. Raises PluginError for one that cannot be."""
        built: dict[str, Metric] = {}
        for name, spec in specs.items():
            built[name] = make_target(spec.build, f"metric {name!r}", options[name])
        return cls(built, tuple(f"{name}/{figure}" for name, spec in specs.items() for figure in spec.headline))

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        """Raises what a metric raises for prompts or a size that it cannot measure."""
        for metric in self.metrics.values():
            metric.check(prompts, shape_FHW)

    def fitting(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int], tell: Callable[[str], None]) -> Measures:
        """Those that can measure videos of this size; why another cannot, ``tell`` is told."""
        fit: dict[str, Metric] = {}
        for name, metric in self.metrics.items():
            try:
                metric.check(prompts, shape_FHW)
            except DistillError as error:
                tell(str(error))
            else:
                fit[name] = metric
        return Measures(fit, self.headline)

    def figures(self, videos: Sequence[SampledVideo], events: Events) -> dict[str, float]:
        """``metric/figure``: value, for one set of videos; none for a metric that fails."""
        found: dict[str, float] = {}
        for name, metric in self.metrics.items():
            try:
                with plugin_border(f"metric {name!r}"):
                    found |= {f"{name}/{figure}": float(value) for figure, value in metric.measure(videos).items()}
            except RefusedError as refusal:
                events.warn("metric_failed", refusal.reason)
        return found
