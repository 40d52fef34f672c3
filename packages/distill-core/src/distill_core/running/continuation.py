"""Which settings tie a run to what it has trained so far, and how two runs differ in them. Reads no file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from distill_core.checkpoint.identity import shown

MAY_CHANGE = {
    "output_dir": "a run may be moved, or copied",
    "tracking": "",
    "validation": "",
    "comparison": "",
    "metrics": "",
    "distributed": "and the number of processes: one batch is shared among them",
    "checkpoint": "",
    "training.max_train_steps": "unless a learning rate's shape spans the whole run",
    "training.on_nonfinite": "",
    "training.step_roles": "memory alone, and who steps in a step that breaks later",
    "training.enable_gradient_checkpointing_type": "memory alone",
    "training.recompute_every": "memory alone",
    "roles.NAME.recompute": "memory alone",
    "roles.NAME.recompute_every": "memory alone",
    "roles.NAME.placement": "memory alone, and what `guidance_passes` follows from it",
    "roles.NAME.guidance_passes": "guided predictions by float rounding",
    "roles.NAME.ema.placement": "memory alone",
    "data.num_workers": "",
    "data.on_bad_row": "",
}
"""Keys that a resumed run may give other values: they do not change what the steps so far would have been. With what there is to add."""

LEFT_TO_THE_MACHINE = ("training.device", "training.precision")
"""Keys whose ``auto`` fits whatever an earlier process chose: a run may go on on another machine."""

UNSAID = {"training.optimizer": "adamw", "training.compile": False}
"""Settings that runs from before there was another did not write down."""

UNSHAPED = frozenset({"constant", "constant_with_warmup"})
"""Learning-rate schedules that do not span the whole run, which may be lengthened under them."""


def binding(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a continuation has to share, by dotted key.

    Paths are not among them: what lies there is known by its content (:mod:`distill_core.running.identity`), wherever it lies.
    """
    flat = flatten(without_paths(resolved))
    shapes = {value for key, value in flat.items() if key.endswith(".lr_scheduler") and value is not None}
    kept = {
        key: value
        for key, value in flat.items()
        if not _may_change(key) and not (key in UNSAID and UNSAID[key] == value)
    }
    if not shapes <= UNSHAPED:
        kept["training.max_train_steps"] = flat["training.max_train_steps"]
    return kept


def left_to_the_machine(asked: Mapping[str, Any]) -> frozenset[str]:
    """The keys of a run that were not asked for, and are as this machine has them."""
    flat = flatten(asked)
    return frozenset(key for key in LEFT_TO_THE_MACHINE if flat.get(key) == "auto")


def differences(before: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What a run has other than the one before it and a continuation may not have, one line per key."""
    there, here = ({**UNSAID, **binding(each)} for each in (before, asked))
    return [
        f"{key}: {shown(there, key)} there, {shown(here, key)} here"
        for key in sorted((there.keys() | here.keys()) - left_to_the_machine(asked), key=_recipe_first)
        if shown(there, key) != shown(here, key)
    ]


def _recipe_first(key: str) -> tuple[bool, str]:
    """The order of keys: under another method or family, others follow from that."""
    return not key.startswith("recipe."), key


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as dotted keys; sequences become JSON, so that a list and a tuple compare equal."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = json.loads(json.dumps(value))
    return flat


def without_paths(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The run without the places of its models and its data."""
    roles = {name: _without_path(role) for name, role in resolved["roles"].items()}
    data = _without_path(resolved["data"])
    return {**resolved, "roles": roles, "data": {**data, "mix": [_without_path(more) for more in data["mix"]]}}


def _without_path(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section without its place, and those of the LoRAs in it."""
    kept = {key: value for key, value in section.items() if key not in ("path", "fixed_loras")}
    loras = [_without_path(each) for each in section.get("fixed_loras") or ()]
    return {**kept, "fixed_loras": loras} if loras else kept


def _may_change(key: str) -> bool:
    first, *rest = key.split(".")
    if first == "roles":
        key = ".".join([first, "NAME", *rest[1:]])
    return any(key == allowed or key.startswith(allowed + ".") for allowed in MAY_CHANGE)
