"""Which method works with which model, from what both declare: loads no weight, imports no implementation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

from pydantic import ValidationError

from distill_core.plugins.answers import demands_of
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.specs import MethodSpec, ModelSpec, RoleNeed
from distill_core.protocols.adapter import PARTS

MEANINGS: Mapping[str, str] = {
    **PARTS,
    "decode_pixels": "pixels of latents, with the graph",
    "encode_pixels": "latents of pixels, with the graph",
}
"""What a family may lack, in words."""


@dataclass(frozen=True)
class Fit:
    """One method with one model for all of its roles.

    Attributes:
        method: the method's name.
        model: the model's name.
        misfits: why they do not work together; empty where they do.
        note: what could not be told without a run.yaml; empty where everything could.
        under: where the default options do not work, a choice of one option under which they do, as ``option: choice``; else empty.
    """

    method: str
    model: str
    misfits: tuple[str, ...]
    note: str = ""
    under: str = ""

    @property
    def works(self) -> bool:
        """Whether nothing speaks against it under the default options."""
        return not self.misfits

    @property
    def verdict(self) -> str:
        """``ok``, or with which choice it is, or ``no`` with the reasons, in one line."""
        if self.under:
            return f"ok with {self.under}"
        if self.misfits:
            return f"no: {'; '.join(self.misfits)}"
        return f"ok ({self.note})" if self.note else "ok"


def missing_operations(role: str, need: RoleNeed, model: ModelSpec) -> str | None:
    """Why ``model`` cannot be that role of a method, or None: an operation that it calls and the family lacks."""
    missing = sorted(need.operations - model.operations)
    return f"{role} needs {', '.join(missing)}, which {model.name} does not offer" if missing else None


def missing_attention(kinds: Iterable[str], model: ModelSpec) -> str | None:
    """Why ``model`` cannot attend as a method demands, or None. ``kinds`` is :attr:`Demands.kinds`."""
    missing = sorted(set(kinds) - set(model.attention))
    offered = ", ".join(model.attention)
    return f"asks for {', '.join(missing)} attention, {model.name} has {offered}" if missing else None


def fit(method: MethodSpec, model: ModelSpec) -> Fit:
    """Judge one method with one model, under the method's default options, and where these do not fit under each other choice of one."""
    misfits, note = _judged(method, model, {})
    choices = _choices(method) if misfits else ()
    under = next((f"{name}: {choice}" for name, choice in choices if _fits(method, model, name, choice)), "")
    return Fit(method.name, model.name, misfits, note, under)


def _judged(method: MethodSpec, model: ModelSpec, chosen: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """The misfits, and the note, under such options."""
    misfits: list[str | None] = []
    note, demands = "", None
    try:
        with plugin_border("its demands"):
            demands = demands_of(method, method.options.model_validate(chosen))
            misfits.append(missing_attention(demands.kinds, model))
    except RefusedError as refusal:
        if not isinstance(refusal.__cause__, ValidationError):
            misfits.append(refusal.reason)
        else:
            note = "what it asks depends on options that have no default"
    misfits += [missing_operations(role, need, model) for role, need in method.needs(demands).items()]
    return tuple(misfit for misfit in misfits if misfit is not None), note


def _choices(method: MethodSpec) -> Iterator[tuple[str, str]]:
    """Each word that an option of the method may be, but its default."""
    for name, field in method.options.model_fields.items():
        if get_origin(field.annotation) is Literal:
            yield from (
                (name, word) for word in get_args(field.annotation) if isinstance(word, str) and word != field.default
            )


def _fits(method: MethodSpec, model: ModelSpec, name: str, choice: str) -> bool:
    """Whether nothing speaks against one choice; one that needs others beside it is none."""
    return _judged(method, model, {name: choice}) == ((), "")


def matrix(methods: Iterable[MethodSpec], models: Iterable[ModelSpec]) -> tuple[Fit, ...]:
    """Every method with every model, by name."""
    families = sorted(models, key=lambda spec: spec.name)
    return tuple(fit(method, model) for method in sorted(methods, key=lambda spec: spec.name) for model in families)


def meanings(fits: Iterable[Fit]) -> Mapping[str, str]:
    """What is lacking in any of them, in words, by its name."""
    words = {word for each in fits if not each.under for misfit in each.misfits for word in re.findall(r"\w+", misfit)}
    return {name: meaning for name, meaning in MEANINGS.items() if name in words}


def shared_spaces(models: Iterable[ModelSpec]) -> Mapping[str, tuple[str, ...]]:
    """Latent space → the families that have it. Roles of one run may be of families that share one."""
    families: dict[str, list[str]] = {}
    for model in sorted(models, key=lambda spec: spec.name):
        for space in model.latent_spaces:
            families.setdefault(space, []).append(model.name)
    return {space: tuple(names) for space, names in sorted(families.items())}
