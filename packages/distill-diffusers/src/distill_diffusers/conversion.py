"""Names of the original releases, and ComfyUI's, as diffusers' own classes have them: by diffusers' own conversion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import diffusers
import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_diffusers.json_files import read_object
from distill_diffusers.quiet import quietly
from distill_diffusers.weights import StoredTensor


def converted(class_name: str, config: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names of a class of diffusers, split and joined as it has them.

    As they are, where diffusers converts none of the class's. Raises ModelFolderError where they are nothing that it converts.
    """
    known = SINGLE_FILE_LOADABLE_CLASSES.get(class_name)
    if known is None:
        return dict(tensors)
    try:
        made: dict[str, Tensor] = known["checkpoint_mapping_fn"](
            checkpoint=dict(tensors), config=read_object(config / "config.json")
        )
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ModelFolderError(f"diffusers makes no {class_name} of these weights: {error!r}") from error
    return made


def converted_headers(class_name: str, config: Path, stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """What headers say of tensors, by the names of the class; as it is, where that is nothing that diffusers converts."""
    some = next(iter(stored.values()), None)
    hollow = {name: torch.empty(tensor.shape, device="meta") for name, tensor in stored.items()}
    try:
        made = converted(class_name, config, hollow)
    except ModelFolderError:
        return dict(stored)
    assert some is not None or not made
    return {} if some is None else {name: replace(some, shape=tuple(tensor.shape)) for name, tensor in made.items()}


def names_of(class_name: str, config: Path) -> list[str]:
    """The names of all tensors that a class of diffusers has by its config.json."""
    return list(_names(class_name, (config / "config.json").read_text(encoding="utf-8")))


@lru_cache
def _names(class_name: str, config: str) -> tuple[str, ...]:
    kind = getattr(diffusers, class_name)
    with quietly(), torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        return tuple(kind.from_config(json.loads(config)).state_dict())
