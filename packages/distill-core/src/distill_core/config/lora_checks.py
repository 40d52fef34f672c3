"""What must hold of the LoRAs of a run.yaml. Pure: each check returns its problems, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_core.config.checks import family_of
from distill_core.config.document import Document
from distill_core.config.schema import RunConfig
from distill_core.errors import Problem
from distill_core.plugins.lora import chosen_layers
from distill_core.plugins.specs import MethodSpec, ModelFacts, ModelSpec, RoleNeed


def of_frozen(method: MethodSpec, needs: Mapping[str, RoleNeed], document: Document) -> Iterator[Problem]:
    """LoRAs to be trained at roles that the method keeps frozen; also of a run.yaml with other faults."""
    given = document.data.get("roles")
    for name, role in given.items() if isinstance(given, Mapping) else ():
        if name in needs and _lora(role) is not None and not (needs[name].trainable or needs[name].sourceless):
            message = (
                f"method {method.name!r} keeps this role frozen, so no LoRA is trained; name the file of one under fixed_loras: "
                "[{path: FILE}], or remove lora"
            )
            yield document.problem(("roles", name, "lora"), message)


def _lora(role: Any) -> object:
    return role.get("lora") if isinstance(role, Mapping) else None


def targets(
    config: RunConfig, facts: Mapping[str, ModelFacts], models: Mapping[str, ModelSpec], document: Document
) -> Iterator[Problem]:
    """Targets that mean no layer, where the family can tell before its weights are loaded."""
    for name, fact in facts.items():
        settings, family = config.roles[name].lora, family_of(config, name)
        if settings is None or family not in models:
            continue
        layers = models[family].lora.layers(fact)
        if layers is not None:
            chosen = chosen_layers(models[family].lora, settings.targets, layers)
            if isinstance(chosen, str):
                yield document.problem(("roles", name, "lora", "targets"), chosen)


def files(config: RunConfig, models: Mapping[str, ModelSpec], document: Document) -> Iterator[Problem]:
    """LoRA files that are not there, or of families that read none; what is in them is checked where they are read."""
    for name, role in config.roles.items():
        family = family_of(config, name)
        for number, fixed in enumerate(role.fixed_loras):
            key = ("roles", name, "fixed_loras", number, "path")
            if family in models and not models[family].lora.files:
                yield document.problem(key, f"model {family!r} reads no LoRA files; remove it")
            elif not Path(fixed.path).exists():
                yield document.problem(key, f"there is no file or folder {fixed.path}")
