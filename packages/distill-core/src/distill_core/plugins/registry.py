"""What a hook adds its specs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Generic, TypeVar

from distill_core.plugins.reward_spec import RewardOptions, RewardSpec
from distill_core.plugins.specs import ImporterSpec, MethodSpec, MetricSpec, ModelSpec, Options, PluginSpec, RoleNeed
from distill_core.protocols.adapter import OPERATIONS

SpecT = TypeVar("SpecT", ModelSpec, MethodSpec, MetricSpec, RewardSpec, ImporterSpec)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Registry(Generic[SpecT]):
    """Collects the specs of one plugin, and checks each, so that a mistake is reported at the plugin that made it."""

    def __init__(self, kind: type[SpecT]) -> None:
        self._kind: type[SpecT] = kind
        self._specs: list[SpecT] = []

    @property
    def specs(self) -> tuple[SpecT, ...]:
        """What was added, in order."""
        return tuple(self._specs)

    def add(self, spec: SpecT) -> None:
        """Add one spec.

        Raises TypeError for anything else. Raises ValueError for a name that is none or that the same plugin has already
        added, a summary that is not one line, options that are no :class:`Options`, a target that is not
        ``"module:Name"``, an unknown operation, and a role that follows no trained model. Raises what pydantic raises of options that it
        cannot check.
        """
        if not isinstance(spec, self._kind):
            raise TypeError(f"registry.add wants a {self._kind.__name__}, got {type(spec).__name__}")
        if any(spec.name == known.name for known in self._specs):
            raise ValueError(f"{spec.name!r} is added twice")
        _check(spec)
        self._specs.append(spec)


def _check(spec: PluginSpec) -> None:
    if not _NAME.fullmatch(spec.name):
        raise ValueError(f"{spec.name!r} is no name: use letters, digits, '-', '_' and '.'")
    if not isinstance(spec.summary, str) or len(spec.summary.splitlines()) != 1:
        raise ValueError(f"{spec.name!r}: summary must be one line, not {spec.summary!r}")
    if not (isinstance(spec.options, type) and issubclass(spec.options, Options)):
        raise ValueError(f"{spec.name!r}: options must be a subclass of plugins.Options, not {spec.options!r}")
    if isinstance(spec, RewardSpec) and not issubclass(spec.options, RewardOptions):
        raise ValueError(f"{spec.name!r}: options must be a subclass of plugins.RewardOptions, not {spec.options!r}")
    spec.options.model_rebuild()  # raises what is wrong with an annotation; classes that others are derived from alone are never built
    for field, target in spec.targets.items():
        if not _TARGET.fullmatch(target):
            raise ValueError(f"{spec.name!r}: {field} must be 'module:Name', not {target!r}")
    if isinstance(spec, ModelSpec):
        _check_operations(spec.name, spec.operations)
    if isinstance(spec, MethodSpec):
        refuse_roles(spec.name, spec.roles)


def _check_operations(owner: str, operations: Iterable[str]) -> None:
    unknown = {name for name in operations if "." not in name} - OPERATIONS.keys()
    for name in sorted(unknown):
        close = get_close_matches(name, OPERATIONS, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"the operations are {', '.join(OPERATIONS)}"
        raise ValueError(f"{owner!r}: there is no operation {name!r}; {remedy}")


def refuse_roles(method: str, needs: Mapping[str, RoleNeed]) -> None:
    """Raise ValueError for an operation that there is not, and for a role that contradicts itself or the others of a method."""
    _check_operations(method, {name for need in needs.values() for name in need.operations})
    for name, need in needs.items():
        fault = _role_fault(needs, need)
        if fault is not None:
            raise ValueError(f"{method!r}: role {name!r} {fault}")


def _role_fault(needs: Mapping[str, RoleNeed], need: RoleNeed) -> str | None:
    """What is wrong with what a method needs of a role, or None."""
    if need.rewards and (need.trainable or need.module is not None or need.follows is not None or need.operations):
        return "is the run's rewards: it is frozen, no module of the method's own, follows nobody and has no operations of a family"
    if need.module is not None and (need.follows is not None or need.operations):
        return "is a module of the method's own: it follows nobody and has no operations of a family"
    if need.drawn_to is not None:
        return _drawn_fault(needs, need)
    if need.follows is None:
        return None
    if need.trainable:
        return f"follows {need.follows!r} and is trained by nothing else: say trainable=False"
    leader = needs.get(need.follows)
    if leader is None:
        return f"follows {need.follows!r}, which is no role of the method"
    if not leader.trainable:
        return f"follows {need.follows!r}, which nothing trains"
    if leader.module is not None:
        return f"follows {need.follows!r}, a module of the method's own; only models are followed"
    return None


def _drawn_fault(needs: Mapping[str, RoleNeed], need: RoleNeed) -> str | None:
    """What is wrong with a role that is drawn to another, or None."""
    if not (need.trainable and need.is_model) or need.follows is not None:
        return f"is drawn to {need.drawn_to!r} beside its own training: say trainable=True, and neither module, follows nor rewards"
    leader = None if need.drawn_to is None else needs.get(need.drawn_to)
    if leader is None or not (leader.trainable and leader.is_model):
        return f"is drawn to {need.drawn_to!r}, which is no trained model of the method"
    return None
