"""Roles whose weights are another role's (`roles.NAME.base`): given that role's folder, or refused. Loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from distill_core.config.checks import family_of
from distill_core.config.document import Document
from distill_core.config.schema import RoleConfig, RunConfig
from distill_core.errors import Problem
from distill_core.plugins.specs import RoleNeed

_TOLD = ("path", "family", "lora", "weights", "placement", "checkpoint")
"""The keys of two roles that say whether they can share."""


def with_bases(config: RunConfig) -> RunConfig:
    """The same run with the folder and the family of its base at every role that has one, instead of the base.

    A base that leads nowhere is left alone.
    """
    return config.model_copy(update={"roles": {name: _settled(config, name) for name in config.roles}})


def _settled(config: RunConfig, name: str) -> RoleConfig:
    role, root = config.roles[name], _root(config, name)
    if root is None or root == name:
        return role
    other = config.roles[root]
    same = {
        "base": None,
        "path": other.path if role.path is None else role.path,
        "family": family_of(config, root),
        "weights": other.weights if role.weights == "auto" else role.weights,
        "placement": other.placement if role.placement == "device" else role.placement,
    }
    return role.model_copy(update=same)


def _root(config: RunConfig, name: str) -> str | None:
    """The role with a folder at the end of a chain of bases; None for a circle, or a name that is no role's."""
    seen: list[str] = []
    while name in config.roles and name not in seen:
        seen.append(name)
        base = config.roles[name].base
        if base is None:
            return name
        name = base
    return None


def bases(
    config: RunConfig, needs: Mapping[str, RoleNeed] | None, document: Document, known: Iterable[Problem] = ()
) -> Iterator[Problem]:
    """Bases that are no role, that go in a circle, and that a role cannot share. ``config``: as it was written, but for keys that are
    ``known`` to be wrong: what they would have said of sharing is not judged."""
    wrong = {problem.key for problem in known}
    for name, role in config.roles.items():
        if role.base is None or wrong & {
            f"roles.{each}.{key}" for each in (name, _root(config, name)) for key in _TOLD
        }:
            continue
        fault = _fault(config, name, role, role.base, None if needs is None else needs.get(name))
        if fault is not None:
            yield document.problem(("roles", name, "base"), fault)


def _fault(config: RunConfig, name: str, role: RoleConfig, base: str, need: RoleNeed | None) -> str | None:
    if base not in config.roles:
        return f"this run has no role {base!r}; its roles are {', '.join(config.roles)}"
    root = _root(config, name)
    if root is None:
        return f"goes in a circle: {base!r} comes back to {name!r}; give one of them `path`"
    other = config.roles[root]
    if other.path is None:
        return f"role {root!r} has no folder of its own; name a role that has `path`"
    if role.path not in (None, other.path):
        return f"this role has another `path` than {root!r}; remove one of the two"
    if role.family not in (None, family_of(config, root)):
        return f"role {root!r} is of model {family_of(config, root)!r}, this one of {role.family!r}; remove `family`"
    if role.weights not in ("auto", other.weights):
        return f"role {root!r} holds its weights in {other.weights}; leave out `weights` here, shared weights are held once"
    if role.placement not in ("device", other.placement):
        return f"role {root!r} has its weights live in {other.placement}; leave out `placement` here, shared weights live in one place"
    if role.checkpoint != other.checkpoint and role.checkpoint is not None:
        return f"role {root!r} does not start from this role's checkpoint; write `path` instead of `base`"
    trained = need is not None and need.trainable
    if trained and role.lora is None:
        return "a role that trains all of its weights shares none; add `lora: {}`, or write `path` instead of `base`"
    if other.lora is None and other.trainable:
        return f"role {root!r} trains all of its weights and shares none; add `lora: {{}}` there, or write `path` instead of `base`"
    return None
