"""The rewards of a run: asked before any model is loaded whether they can measure what the run will make, and built as one module."""

from __future__ import annotations

from distill_core.config.blame import Faults
from distill_core.config.resolve import Findings, ResolvedRun
from distill_core.data.reading.mixture import Mixture
from distill_core.data.reading.plan import DataPlan
from distill_core.plugins.loading import make_target
from distill_core.protocols.reward import Reward
from distill_core.running.measurable import refuse_unmeasurable
from distill_core.training.rewards import WeightedRewards


def check_rewards(run: ResolvedRun | Findings, dataset: Mixture, plan: DataPlan, faults: Faults) -> None:
    """Whether each reward can measure clips of every caption of the data, at the run's size."""
    if not run.reward_options:
        return
    captions = dataset.captions(len(dataset))
    size = next(iter(run.facts.values())).latent_space.pixels(plan.latent_shape)
    for name in run.reward_options:
        with faults.at("rewards", name):
            refuse_unmeasurable(_built(run, name), captions, size, dataset.source_of)


def weighted_rewards(run: ResolvedRun) -> WeightedRewards:
    """All of them. Raises PluginError for one that cannot be built."""
    options = run.reward_options
    weights = {name: each.weight for name, each in options.items()}
    enough = {name: each.enough for name, each in options.items() if each.enough is not None}
    return WeightedRewards({name: _built(run, name) for name in options}, weights, enough)


def _built(run: ResolvedRun | Findings, name: str) -> Reward:
    reward: Reward = make_target(run.rewards[name].build, f"reward {name!r}", run.reward_options[name])
    return reward
