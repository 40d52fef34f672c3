"""The plugins that a run.yaml names, and the options that it gives them.

Works on plain data rather than on a RunConfig, so that it can speak of a run.yaml that does not obey the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from distill_core.config.document import Document, KeyPath
from distill_core.config.faults import problems_of, validated
from distill_core.config.schema import RunConfig
from distill_core.config.shape import Shape, outline_of
from distill_core.errors import PluginError, Problem
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.reward_spec import RewardOptions, RewardSpec
from distill_core.plugins.specs import MethodSpec, MetricSpec, ModelSpec, Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from distill_core.plugins.index import PluginIndex

Sections = Mapping[str, Shape]
"""Mappings of a run.yaml, by dotted path."""
SpecT = TypeVar("SpecT", ModelSpec, MethodSpec, MetricSpec, RewardSpec)


class ChosenPlugins:
    """What a document chooses from an index.

    Attributes:
        method: the method's spec, or None with a problem.
        models: the specs of the families that were found, by name, the recipe's first.
        method_options: ``method_config`` as the method's own type, or None with a problem.
        model_options: the options of each family: ``pipeline_config`` for the recipe's, ``families.NAME`` for any other.
        metrics: the specs of the metrics that were found, by name.
        metric_options: the options of each metric.
        rewards: the specs of the rewards that were found, by name.
        reward_options: the options of each reward.
        problems: all that is wrong.
    """

    def __init__(self, document: Document, index: PluginIndex) -> None:
        self.problems: list[Problem] = []
        self.models: dict[str, ModelSpec] = {}
        self.model_options: dict[str, Options] = {}
        self.method_options: Options | None = None
        self.metrics: dict[str, MetricSpec] = {}
        self.metric_options: dict[str, Options] = {}
        self.rewards: dict[str, RewardSpec] = {}
        self.reward_options: dict[str, RewardOptions] = {}
        self._document = document
        family = _text_at(document, ("recipe", "family"))
        self.method = self._find(index.method, ("recipe", "method"))
        lead = self._find(index.model, ("recipe", "family"))
        sections = partial(_sections, lead, self.method)
        if lead is not None:
            self.models[lead.name] = lead
            options = self._options(lead.options, ("pipeline_config",), sections, f"model {lead.name!r}")
            self.model_options.update({} if options is None else {lead.name: options})
        if self.method is not None:
            self.method_options = self._options(
                self.method.options, ("method_config",), sections, f"method {self.method.name!r}"
            )
        for path in _own_families(document):
            if _text_at(document, path) not in (family, *self.models):
                self._add_other_family(index, path, family)
        self.problems += self._unused_families(family)
        metrics = document.data.get("metrics")
        for name in metrics if isinstance(metrics, Mapping) else ():
            self._add_metric(index, str(name))
        rewards = document.data.get("rewards")
        for name in rewards if isinstance(rewards, Mapping) else ():
            self._add_reward(index, str(name))

    def _add_metric(self, index: PluginIndex, name: str) -> None:
        spec = self._found(index.metric, name, ("metrics", name))
        if spec is None:
            return
        self.metrics[name] = spec
        sections = partial(_own_sections, spec, f"metrics.{name}")
        options = self._options(spec.options, ("metrics", name), sections, f"metric {name!r}")
        if options is not None:
            self.metric_options[name] = options

    def _add_reward(self, index: PluginIndex, name: str) -> None:
        spec = self._found(index.reward, name, ("rewards", name))
        if spec is None:
            return
        self.rewards[name] = spec
        sections = partial(_own_sections, spec, f"rewards.{name}")
        options = self._options(spec.options, ("rewards", name), sections, f"reward {name!r}")
        if isinstance(options, RewardOptions):
            self.reward_options[name] = options

    def _find(self, find: Callable[[str], SpecT], path: KeyPath) -> SpecT | None:
        name = _text_at(self._document, path)
        return None if name is None else self._found(find, name, path)

    def _found(self, find: Callable[[str], SpecT], name: str, path: KeyPath) -> SpecT | None:
        try:
            return find(name)
        except PluginError as error:
            self.problems.append(replace(self._document.problem(path, str(error)), cause=error))
            return None

    def _options(
        self, options: type[Options], path: KeyPath, sections: Callable[[], Sections], owner: str
    ) -> Options | None:
        """The options as their own type. ``sections`` tells, of a fault, the keys of other mappings."""
        document = self._document
        if path[0] not in document.data:
            document = replace(document, data={**document.data, str(path[0]): {}})
        data = document.value(path)
        if not isinstance(data, Mapping):
            return None  # the schema has said so
        try:
            with plugin_border(f"checking the options of {owner}"):
                return validated(options, data)
        except RefusedError as refusal:
            if isinstance(refusal.__cause__, ValidationError):
                self.problems += problems_of(refusal.__cause__, options, document, path, sections())
            else:
                problem = self._document.problem(path, refusal.reason)
                self.problems.append(replace(problem, cause=refusal.__cause__))
            return None

    def _add_other_family(self, index: PluginIndex, path: KeyPath, family: str | None) -> None:
        spec = self._find(index.model, path)
        if spec is None:
            return
        self.models[spec.name] = spec
        given = self._document.data.get("families")
        if isinstance(given, Mapping) and spec.name in given:
            sections = partial(_own_sections, spec, f"families.{spec.name}")
            options = self._options(spec.options, ("families", spec.name), sections, f"model {spec.name!r}")
            self.model_options.update({} if options is None else {spec.name: options})
            return
        try:
            with plugin_border(f"making the default options of {spec.name!r}"):
                self.model_options[spec.name] = spec.options()
        except RefusedError as refusal:
            message = (
                f"`pipeline_config` belongs to {family!r} and `families.{spec.name}` is not there, so {spec.name!r} runs on its "
                f"defaults, and {refusal.reason}"
            )
            self.problems.append(self._document.problem(path, message))

    def _unused_families(self, family: str | None) -> Iterator[Problem]:
        """Options of families that no role is of, or that are the recipe's, which has a section of its own."""
        given = self._document.data.get("families")
        used = {_text_at(self._document, path) for path in _own_families(self._document)}
        for name in given if isinstance(given, Mapping) else ():
            if name == family:
                yield self._document.problem(
                    ("families", name), f"{name!r} is recipe.family: write its options under pipeline_config"
                )
            elif name not in used:
                yield self._document.problem(
                    ("families", name), f"no role is of family {name!r}; give one `family: {name}`, or remove this"
                )


def _text_at(document: Document, path: KeyPath) -> str | None:
    """The text at a path; None where there is none, or something else, which the schema speaks of."""
    try:
        value = document.value(path)
    except (LookupError, TypeError):
        return None
    return value if isinstance(value, str) else None


def _own_families(document: Document) -> list[KeyPath]:
    """The paths of the roles' own families."""
    roles = document.data.get("roles")
    paths: list[KeyPath] = [("roles", role, "family") for role in roles] if isinstance(roles, Mapping) else []
    return [path for path in paths if _text_at(document, path) is not None]


def option_sections(document: Document, index: PluginIndex) -> dict[str, Shape]:
    """All mappings of the options of the model and the method that a document's recipe names, as far as they are found."""
    return _option_sections(
        _offered(index.model, _text_at(document, ("recipe", "family"))),
        _offered(index.method, _text_at(document, ("recipe", "method"))),
    )


def _offered(find: Callable[[str], SpecT], name: str | None) -> SpecT | None:
    """What a plugin offers by a name, or None, which is told elsewhere."""
    if name is None:
        return None
    try:
        return find(name)
    except PluginError:
        return None


def _option_sections(model: ModelSpec | None, method: MethodSpec | None) -> dict[str, Shape]:
    model_sections = {} if model is None else _own_sections(model, "pipeline_config")
    return model_sections | ({} if method is None else _own_sections(method, "method_config"))


def _own_sections(spec: ModelSpec | MethodSpec | MetricSpec | RewardSpec, at: str) -> dict[str, Shape]:
    """All mappings of a plugin's options, which stand at a path of a run.yaml."""
    return dict(outline_of(spec.options).sections(at))


def _sections(model: ModelSpec | None, method: MethodSpec | None) -> dict[str, Shape]:
    """All mappings of a run.yaml that these plugins make."""
    return dict(outline_of(RunConfig).sections()) | _option_sections(model, method)
