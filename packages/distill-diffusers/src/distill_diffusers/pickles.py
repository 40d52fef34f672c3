"""Pickles of weights, as the first releases and trainers write them: nothing but tensors is read of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_diffusers.weights import StoredTensor

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_WRAPPERS = ("state_dict", "model", "module", "generator_ema", "generator")
"""Under what trainers put a model's tensors into a pickle."""


def pickle_headers(files: list[Path]) -> dict[str, StoredTensor]:
    """The tensors of a pickle, by their names; their content is not read."""
    (file,) = files
    return {
        name: StoredTensor(file, _NAMES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape), 0, 0)
        for name, tensor in read_pickle(file, "meta").items()
    }


def read_pickle(file: Path, device: str = "cpu") -> Mapping[str, Tensor]:
    """The tensors of a pickle; none of its code is run. Raises ModelFolderError for one that holds more than tensors."""
    try:
        # ``Any``: what a pickle holds.
        held: Any = torch.load(file, map_location=device, weights_only=True, mmap=device == "cpu" or None)
    except (RuntimeError, UnpicklingError, EOFError, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelFolderError(f"{file} cannot be read as tensors alone, and nothing else is: {reason}") from error
    while isinstance(held, dict) and (
        inner := next((name for name in _WRAPPERS if isinstance(held.get(name), dict)), None)
    ):
        held = held[inner]
    if not isinstance(held, dict):
        raise ModelFolderError(f"{file} holds a {type(held).__name__}, expected tensors by their names")
    tensors = {str(name): tensor for name, tensor in held.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise ModelFolderError(f"{file} holds no tensors by their names")
    return tensors
