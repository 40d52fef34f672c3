"""From a loaded run.yaml to a run that is known to fit together: plugins found, their options typed, roles and folders checked.

Loads no weight and imports no torch. What needs the data set itself (channels, frames, captions) is checked where the data are opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_core.config import checks, data_sets, lora_checks, role_checks
from distill_core.config.bases import bases, with_bases
from distill_core.config.blame import refusal, touches
from distill_core.config.chosen import ChosenPlugins, option_sections
from distill_core.config.document import Document
from distill_core.config.folders import complete_options, inspect_folders, with_absolute_paths
from distill_core.config.load import LoadedRun, parse_run
from distill_core.config.schema import RoleConfig, RunConfig
from distill_core.errors import Problem
from distill_core.plugins.answers import demands_of
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.columns import Column
from distill_core.plugins.reward_spec import RewardOptions, RewardSpec
from distill_core.plugins.specs import Demands, MethodSpec, MetricSpec, ModelFacts, ModelSpec, Options, RoleNeed

if TYPE_CHECKING:
    from distill_core.config.sparsity import SparsityRamp
    from distill_core.plugins.index import PluginIndex


@dataclass(frozen=True)
class ResolvedRun:
    """A run that can be built.

    Attributes:
        config: the run.yaml with every default filled in, the plugins' too, each role's family named, local paths absolute.
        loaded: the run.yaml as it was read: its text, path and overrides.
        method: the method's spec.
        method_options: ``method_config``, as the method's own type.
        models: the model families of the run, by name.
        model_options: each family's options: ``pipeline_config`` for ``recipe.family``, ``families.NAME`` for any other; what they leave
            open is as the folder of the family's first role says.
        metrics: the metrics that measure its samples, by name.
        metric_options: each metric's options.
        rewards: the rewards that the method raises, by name.
        reward_options: each reward's options.
        facts: what each role's folder says, by role, in the method's order.
        demands: what the method asks for under its options.
    """

    config: RunConfig
    loaded: LoadedRun
    method: MethodSpec
    method_options: Options
    models: Mapping[str, ModelSpec]
    model_options: Mapping[str, Options]
    metrics: Mapping[str, MetricSpec]
    metric_options: Mapping[str, Options]
    rewards: Mapping[str, RewardSpec]
    reward_options: Mapping[str, RewardOptions]
    facts: Mapping[str, ModelFacts]
    demands: Demands

    @property
    def lead(self) -> str:
        """The role whose folder lends the run its text encoder and decoder: the first in the method's order that the run has."""
        return next(iter(self.facts))

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the data must hold of each row besides latent and caption: for the first role's conditions, and for the method."""
        return _columns(self.facts, self.demands)

    @property
    def needs(self) -> Mapping[str, RoleNeed]:
        """The roles of the run, in the method's order, with what the method needs of each."""
        needs = self.method.needs(self.demands)
        return {name: need for name, need in needs.items() if name in self.config.roles}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it before it trains."""
        from distill_core.config.notes import notes_of

        return tuple(dict.fromkeys(notes_of(self)))

    @property
    def sparsity(self) -> SparsityRamp | None:
        """How sparse attention grows over the run; None where the method asks for none."""
        from distill_core.config.sparsity import SparsityRamp

        training = self.config.training
        if "vsa" not in self.demands.kinds:
            return None
        return SparsityRamp(training.VSA_sparsity, training.VSA_decay_rate, training.VSA_decay_interval_steps)

    def to_mapping(self) -> dict[str, Any]:
        """The whole run as plain data. Written with ``write_yaml`` and read again, it resolves to an equal ``config``."""
        return self.config.model_dump(mode="json")


@dataclass(frozen=True)
class Findings:
    """What could be found out about a run.yaml, right or wrong, without loading a weight or opening its data.

    Attributes:
        config: the run.yaml, local paths absolute; without the keys that are wrong.
        loaded: the same as it was read.
        method: the method's spec, if it was found; so with the others of :class:`ResolvedRun`'s attributes.
        problems: all that is wrong.
    """

    config: RunConfig
    loaded: LoadedRun
    method: MethodSpec | None
    method_options: Options | None
    models: Mapping[str, ModelSpec]
    model_options: Mapping[str, Options]
    metrics: Mapping[str, MetricSpec]
    metric_options: Mapping[str, Options]
    rewards: Mapping[str, RewardSpec]
    reward_options: Mapping[str, RewardOptions]
    facts: Mapping[str, ModelFacts]
    demands: Demands | None
    problems: tuple[Problem, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the data must hold of each row besides latent and caption: for the first role's conditions, and for the method."""
        return _columns(self.facts, self.demands)

    def resolved(self) -> ResolvedRun:
        """The run that can be built. Raises ConfigError with every problem, if there are any."""
        if self.problems or self.method is None or self.method_options is None or self.demands is None:
            raise refusal(self.problems, self.loaded.path)
        config = self.config
        complete = {
            "roles": self._complete_roles(self.method.needs(self.demands)),
            "pipeline_config": self.model_options[config.recipe.family].model_dump(mode="json"),
            "families": {
                name: options.model_dump(mode="json")
                for name, options in self.model_options.items()
                if name != config.recipe.family
            },
            "method_config": self.method_options.model_dump(mode="json"),
            "rewards": {name: options.model_dump(mode="json") for name, options in self.reward_options.items()},
            "metrics": {name: options.model_dump(mode="json") for name, options in self.metric_options.items()},
        }
        return ResolvedRun(
            config=config.model_copy(update=complete),
            loaded=self.loaded,
            method=self.method,
            method_options=self.method_options,
            models=self.models,
            model_options=self.model_options,
            metrics=self.metrics,
            metric_options=self.metric_options,
            rewards=self.rewards,
            reward_options=self.reward_options,
            facts=self.facts,
            demands=self.demands,
        )

    def _complete_roles(self, needs: Mapping[str, RoleNeed]) -> dict[str, RoleConfig]:
        """The run's roles with their families, and with those that need no entry of their own, as if they had one."""
        given = self.config.roles
        unnamed = {
            name: RoleConfig(trainable=need.trainable)
            for name, need in needs.items()
            if need.sourceless and not need.optional and name not in given
        }
        named = {
            name: role
            if needs[name].sourceless
            else role.model_copy(update={"family": checks.family_of(self.config, name)})
            for name, role in given.items()
        }
        return named | unnamed

    def refuse_known(self) -> None:
        """Raise ConfigError if anything is wrong already, with what else can be told without torch: the data are not opened."""
        if not self.problems and self.demands is not None and self.facts:
            return
        problems, config, document = list(self.problems), self.config, self.loaded.document
        if (
            self.method is not None
            and self.method_options is not None
            and not touches(problems, "training", "method_config")
        ):
            problems += checks.idle(self.method, self.method_options, config, document)
        training = config.training
        fp32 = training.precision == "fp32" or (training.precision == "auto" and training.device == "cpu")
        if not touches(problems, "training.device", "training.precision"):
            narrow = checks.narrow_weights(config, compute_is_fp32=fp32)
            problems += [document.problem(tuple(key.split(".")), message) for key, message in narrow]
        problems += [each for each in checks.data_path(config.data, document) if not touches(problems, each.key)]
        raise refusal(problems, self.loaded.path)


def examine(path: str | Path, overrides: Sequence[str], index: PluginIndex, only: str | None = None) -> Findings:
    """Compare a run.yaml, as far as it is right, with the plugins that it names and the folders that it points to.

    ``only``: the one role whose folder is looked at; None looks at all.

    Raises ConfigError where too little is right for that, with the faults of the schema, of the plugins and of the roles together.
    """
    parsed = parse_run(path, overrides, lambda document: option_sections(document, index))
    if parsed.config is None:
        plugins = ChosenPlugins(parsed.document, index)
        problems = [*parsed.problems, *plugins.problems]
        demands = _demands(plugins.method, plugins.method_options, parsed.document, problems)
        raise refusal([*problems, *_of_roles(plugins, parsed.document, demands)], path)
    loaded = LoadedRun(parsed.config, parsed.document, Path(path), tuple(overrides))
    return _compare(loaded, index, parsed.problems, only)


def open_run(path: str | Path, overrides: Sequence[str], index: PluginIndex, only: str | None = None) -> ResolvedRun:
    """A run.yaml that is right. Raises ConfigError with every problem found in it, in its plugins and in its models' folders."""
    return examine(path, overrides, index, only).resolved()


def resolve(loaded: LoadedRun, index: PluginIndex) -> ResolvedRun:
    """Check a run against the plugins it names and the folders it points to. Raises ConfigError with every problem found."""
    return _compare(loaded, index, ()).resolved()


def _compare(loaded: LoadedRun, index: PluginIndex, known: Sequence[Problem], only: str | None = None) -> Findings:
    """All checks that need no data. What depends on a section that is ``known`` to be wrong is passed over."""
    written, document = with_absolute_paths(loaded.config), loaded.document
    config = with_bases(written)
    plugins = ChosenPlugins(document, index)
    problems = [*known, *plugins.problems]
    method, models = plugins.method, plugins.models
    demands = _demands(method, plugins.method_options, document, problems)
    problems += _of_roles(plugins, document, demands)
    problems += bases(written, None if method is None else method.needs(demands), document, known)
    if method is not None:
        needs = method.needs(demands)
        problems += role_checks.operations(method, needs, config, models, document)
        problems += role_checks.guidance_passes(method, needs, config, models, document)
        if demands is not None and plugins.method_options is not None:
            problems += role_checks.attention(demands, plugins.method_options, config, models, document)
            problems += role_checks.dense_operations(needs, demands, plugins.method_options, config, models, document)
    if method is not None and demands is not None:
        problems += checks.rewards(method, demands, plugins.rewards, plugins.reward_options, index, document)
    order = config.roles if method is None else [role for role in method.needs(demands) if role in config.roles]
    problems += role_checks.conditions(order, config, models, document)
    looked_at = [role for role in order if only in (None, role)]
    facts, unusable = inspect_folders(looked_at, config, plugins, index, document)
    problems += unusable
    completed, failed = complete_options(facts, config, plugins, document)
    problems += failed
    if method is not None:
        problems += role_checks.lacking(method, method.needs(demands), config, facts, document)
    problems += role_checks.frozen_alone(config, facts, document)
    problems += role_checks.latent_spaces(config, facts, document)
    if method is not None and plugins.method_options is not None and set(facts) >= _with_folders(method, demands):
        problems += checks.misfits(method, plugins.method_options, facts, document)
    problems += lora_checks.targets(config, facts, models, document)
    problems += lora_checks.files(config, models, document)
    if not touches(known, "data"):
        problems += checks.data_sizes(config.data, facts, document)
        problems += data_sets.weights(config.data, document)
    if not touches(known, "roles"):
        problems += checks.compared_roles(config, demands, document)
    return Findings(
        config=config,
        loaded=loaded,
        method=method,
        method_options=plugins.method_options,
        models=models,
        model_options=completed,
        metrics=plugins.metrics,
        metric_options=plugins.metric_options,
        rewards=plugins.rewards,
        reward_options=plugins.reward_options,
        facts=facts,
        demands=demands,
        problems=tuple(problems),
    )


def _with_folders(method: MethodSpec, demands: Demands | None) -> set[str]:
    """The roles that a run has, each with a folder."""
    needs = method.needs(demands)
    return {name for name, need in needs.items() if not (need.optional or need.sourceless)}


def _columns(facts: Mapping[str, ModelFacts], demands: Demands | None) -> tuple[Column, ...]:
    """The columns of the first role's family, and the method's; of those that it makes, the run's flow shift is known here."""
    lead = next(iter(facts.values()), None)
    of_family = () if lead is None else lead.columns
    shift = None if lead is None else lead.flow_shift
    of_method = [
        column if column.made_with is None else replace(column, made_with={**column.made_with, "flow_shift": shift})
        for column in (() if demands is None else demands.columns)
    ]
    return tuple({column.name: column for column in (*of_family, *of_method)}.values())


def _of_roles(plugins: ChosenPlugins, document: Document, demands: Demands | None) -> list[Problem]:
    """What is wrong with the roles in the eyes of the method, if that is known; also in a run.yaml that does not obey the schema."""
    method = plugins.method
    if method is None:
        return []
    needs = method.needs(demands)
    return [
        *role_checks.roles(method, needs, document),
        *role_checks.optimized(method, needs, document),
        *role_checks.masters(needs, document),
        *role_checks.placements(needs, document),
        *lora_checks.of_frozen(method, needs, document),
    ]


def _demands(
    method: MethodSpec | None, options: Options | None, document: Document, problems: list[Problem]
) -> Demands | None:
    if method is None or options is None:
        return None
    try:
        with plugin_border(f"the demands of method {method.name!r}"):
            demands = demands_of(method, options)
    except RefusedError as refused:
        problem = document.problem(("method_config",), refused.reason)
        problems.append(replace(problem, cause=refused.__cause__))
        return None
    faults = [fault for column in demands.columns if (fault := column.fault()) is not None]
    problems += [document.problem(("recipe", "method"), f"method {method.name!r}: {fault}") for fault in faults]
    return None if faults else demands
