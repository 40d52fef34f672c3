"""What a spec's functions answer, checked where they are asked: one of another type would fail far from its plugin, unnamed."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ValidationError, create_model

from distill_core.plugins.border import words_of
from distill_core.plugins.loading import CodeOf, load_target
from distill_core.plugins.registry import refuse_roles
from distill_core.plugins.specs import Demands, MethodSpec, ModelFacts, ModelSpec


def ill_typed(answer: object, kind: type) -> str | None:
    """Why ``answer`` is none of the dataclass ``kind``, or holds what that does not declare; None for a good one."""
    if not isinstance(answer, kind):
        return f"a {kind.__name__} is wanted, not {answer!r}"
    said = {each.name for each in fields(kind) if not _by_default(each, vars(answer)[each.name])}
    try:
        _declared(kind, frozenset(said)).model_validate({name: vars(answer)[name] for name in said}, strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0])
        return f"{kind.__name__}.{name} cannot be {vars(answer)[name]!r}: {words_of(fault)}"
    return None


def _by_default(field: Field[Any], value: object) -> bool:
    """Whether a field is as it is declared where nothing is said, and so of its type. Most are, and no type of theirs is looked at."""
    if field.default_factory is MISSING:
        return value is field.default
    default = field.default_factory()
    return type(value) is type(default) and value == default


@cache
def _declared(kind: type[Any], names: frozenset[str]) -> type[BaseModel]:
    """What tells whether the value of each of these fields is of its type."""
    hints = get_type_hints(kind)
    declared: dict[str, Any] = {name: (hints[name], ...) for name in hints if name in names}
    return create_model(kind.__name__, **declared)


def _refuse(answer: object, kind: type) -> None:
    fault = ill_typed(answer, kind)
    if fault is not None:
        raise TypeError(fault)


def demands_of(method: MethodSpec, options: Any) -> Demands:
    """What a method asks for under an instance of its options. Raises what it raises, TypeError or ValueError for what are no demands."""
    demands = method.demands(options)
    _refuse(demands, Demands)
    refuse_roles(method.name, method.needs(demands))
    return demands


def facts_of(family: ModelSpec, path: str) -> ModelFacts:
    """What a folder says, as the family finds it. Raises ModelFolderError as it does, PluginError for anything else that it does."""
    owner = f"model {family.name!r}"
    inspect = load_target(family.inspect, owner)
    with CodeOf(owner, f"looking at {path}"):
        facts: ModelFacts = inspect(path)
        _refuse(facts, ModelFacts)
        return facts


def settled_facts(family: ModelSpec, facts: ModelFacts, options: Any) -> ModelFacts:
    """Facts under an instance of the family's options. Raises ModelFolderError where they contradict each other, PluginError as above."""
    with CodeOf(f"model {family.name!r}", "settling what a folder says under its options"):
        settled = family.settle(facts, options)
        _refuse(settled, ModelFacts)
        return settled


def completed_options(family: ModelSpec, facts: ModelFacts, options: Any) -> Any:
    """The options with what they leave open as the folder records it. Raises PluginError for what the family raises, or gives instead."""
    with CodeOf(f"model {family.name!r}", "completing its options"):
        completed = family.complete(facts, options)
        if not isinstance(completed, family.options):
            raise TypeError(f"{family.options.__name__} are wanted, not {completed!r}")
        return completed
