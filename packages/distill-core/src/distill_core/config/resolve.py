"""From a loaded run.yaml to a run that is known to fit together: plugins found, their options typed, roles and folders checked.

Loads no weight and imports no torch. What needs the data set itself (channels, frames, captions) is checked where the data are opened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_core.config import checks
from distill_core.config.chosen import ChosenPlugins
from distill_core.config.document import Document
from distill_core.config.faults import by_line
from distill_core.config.load import LoadedRun, parse_run
from distill_core.config.schema import RunConfig
from distill_core.errors import ConfigError, ModelFolderError, PluginError, Problem
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.loading import load_target
from distill_core.plugins.specs import Demands, MethodSpec, MetricSpec, ModelFacts, ModelSpec, Options

if TYPE_CHECKING:
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
        model_options: each family's options: ``pipeline_config`` for ``recipe.family``, the defaults for any other.
        metrics: the metrics that measure its samples, by name.
        metric_options: each metric's options.
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
    facts: Mapping[str, ModelFacts]
    demands: Demands

    @property
    def lead(self) -> str:
        """The role whose folder lends the run its text encoder and decoder: the first in the method's order that the run has."""
        return next(iter(self.facts))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the run.yaml says to no effect, for a person to read."""
        if self.config.training.VSA_sparsity and "vsa" not in self.demands.attention:
            return (
                "training.VSA_sparsity has no effect: the method asks for no vsa attention (method_config.attn_kind)",
            )
        return ()

    def to_mapping(self) -> dict[str, Any]:
        """The whole run as plain data. Written with ``write_yaml`` and read again, it resolves to an equal ``config``."""
        return self.config.model_dump(mode="json")


def open_run(path: str | Path, overrides: Sequence[str], index: PluginIndex) -> ResolvedRun:
    """``load_run`` and ``resolve`` in one. Raises ConfigError with the faults of the run.yaml and of its plugins' options together."""
    parsed = parse_run(path, overrides)
    if parsed.config is None or parsed.problems:
        plugins = ChosenPlugins(parsed.document, index)
        unfit = () if plugins.method is None else checks.roles(plugins.method, parsed.document)
        raise ConfigError(by_line([*parsed.problems, *plugins.problems, *unfit]), str(path))
    return resolve(LoadedRun(parsed.config, parsed.document, Path(path), tuple(overrides)), index)


def resolve(loaded: LoadedRun, index: PluginIndex) -> ResolvedRun:
    """Check a run against the plugins it names and the folders it points to. Raises ConfigError with every problem found."""
    config, document = _with_absolute_paths(loaded.config), loaded.document
    plugins = ChosenPlugins(document, index)
    problems = list(plugins.problems)
    method, models = plugins.method, plugins.models
    demands = _demands(method, plugins.method_options, document, problems)
    facts: dict[str, ModelFacts] = {}
    if method is not None:
        problems += checks.roles(method, document)
        problems += checks.operations(method, config, models, document)
        if demands is not None and plugins.method_options is not None:
            problems += checks.attention(demands, plugins.method_options, models, document)
    order = config.roles if method is None else [role for role in method.roles if role in config.roles]
    problems += checks.conditions(order, config, models, document)
    facts = _inspect(order, config, plugins, document, problems)
    problems += checks.latent_spaces(facts, document)
    problems += checks.data_sizes(config.data, facts, document)
    problems += checks.compared_roles(config, document)
    if problems or method is None or plugins.method_options is None or demands is None:
        raise ConfigError(by_line(problems), str(loaded.path))
    return ResolvedRun(
        config=_complete(config, plugins),
        loaded=loaded,
        method=method,
        method_options=plugins.method_options,
        models=models,
        model_options=plugins.model_options,
        metrics=plugins.metrics,
        metric_options=plugins.metric_options,
        facts=facts,
        demands=demands,
    )


def _demands(
    method: MethodSpec | None, options: Options | None, document: Document, problems: list[Problem]
) -> Demands | None:
    if method is None or options is None:
        return None
    try:
        with plugin_border(f"the demands of method {method.name!r}"):
            return method.demands(options)
    except RefusedError as refusal:
        problem = document.problem(("method_config",), refusal.reason)
        problems.append(replace(problem, cause=refusal.__cause__))
        return None


def _inspect(
    roles: Sequence[str] | Mapping[str, object],
    config: RunConfig,
    plugins: ChosenPlugins,
    document: Document,
    problems: list[Problem],
) -> dict[str, ModelFacts]:
    """What the roles' folders say under their families' options, by role; those that say nothing usable are problems.

    A folder is looked at once.
    """
    facts: dict[str, ModelFacts] = {}
    seen: dict[tuple[str, str], ModelFacts | Problem] = {}
    for role in roles:
        path, family = config.roles[role].path, checks.family_of(config, role)
        if family not in plugins.models:
            continue
        if (family, path) not in seen:
            options = plugins.model_options.get(family)
            seen[family, path] = _facts_or_fault(plugins.models[family], options, path)
        found = seen[family, path]
        if isinstance(found, Problem):
            problem = document.problem(("roles", role, "path"), found.message)
            problems.append(replace(problem, cause=found.cause))
        else:
            facts[role] = found
    return facts


def _facts_or_fault(model: ModelSpec, options: Options | None, path: str) -> ModelFacts | Problem:
    """What a folder says, or what is wrong with it, to be placed by the caller. ``options``: None if they are wrong themselves."""
    try:
        inspect = load_target(model.inspect, f"model {model.name!r}")
        with plugin_border(f"looking at the folder with model {model.name!r}"):
            facts: ModelFacts = inspect(path)
            return facts if options is None else model.settle(facts, options)
    except PluginError as error:
        return Problem("", str(error), cause=error)
    except RefusedError as refusal:
        if isinstance(refusal.__cause__, ModelFolderError):
            return Problem("", str(refusal.__cause__).replace("\n", " "), cause=refusal.__cause__)
        return Problem("", refusal.reason, cause=refusal.__cause__)


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same run with every local path absolute, so that export and sampling work from any directory; hub ids stay as they are."""
    roles = {
        name: role.model_copy(update={"path": _absolute(role.path) if _is_local(role.path) else role.path})
        for name, role in config.roles.items()
    }
    mix = tuple(more.model_copy(update={"path": _absolute(more.path)}) for more in config.data.mix)
    data = config.data.model_copy(update={"path": _absolute(config.data.path), "mix": mix})
    return config.model_copy(update={"roles": roles, "data": data, "output_dir": _absolute(config.output_dir)})


def _is_local(path: str) -> bool:
    return path.startswith((".", "~")) or os.path.exists(path)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _complete(config: RunConfig, plugins: ChosenPlugins) -> RunConfig:
    """The same run with the plugins' defaults and the roles' families written out."""
    assert plugins.method_options is not None, "a run without it has been refused"
    roles = {
        name: role.model_copy(update={"family": checks.family_of(config, name)}) for name, role in config.roles.items()
    }
    update = {
        "roles": roles,
        "pipeline_config": plugins.model_options[config.recipe.family].model_dump(mode="json"),
        "method_config": plugins.method_options.model_dump(mode="json"),
        "metrics": {name: options.model_dump(mode="json") for name, options in plugins.metric_options.items()},
    }
    return config.model_copy(update=update)
