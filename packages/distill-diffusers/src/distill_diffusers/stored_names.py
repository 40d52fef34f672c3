"""The names that a file gives its tensors, where they are not those of the class: compiled, prefixed, with scales beside weights of 8 bits.

Whether names are the original release's is for :mod:`distill_diffusers.stored_part`. Imports no torch, reads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

COMPILED = "_orig_mod."
"""What `torch.compile` puts before the names of a module's tensors."""
PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.model.")
"""What ComfyUI puts before the names of a denoiser's tensors; the last where it saves a HunyuanVideo."""

_SCALES = (".scale_weight", ".weight_scale")
"""The factor of a weight that is stored in fp8, as ComfyUI's files have called it, before 2026 and since."""
_OF_ACTIVATIONS = (".scale_input", ".input_scale")
_FORMAT = ".comfy_quant"
_MARK = "scaled_fp8"
"""An empty tensor by which older files say that they have scales."""

TensorT = TypeVar("TensorT")


@dataclass(frozen=True)
class Named(Generic[TensorT]):
    """Tensors by plain names.

    Attributes:
        tensors: those of the model.
        scales: factors, by the names of the weights that they belong to.
        compiled: whether names were a compiled module's.
        prefix: what stood before every name, "" for nothing.
    """

    tensors: Mapping[str, TensorT]
    scales: Mapping[str, TensorT]
    compiled: bool
    prefix: str


def plain(stored: Mapping[str, TensorT]) -> Named[TensorT]:
    """Tensors by the names that they would have without any of it."""
    compiled = any(COMPILED in name for name in stored)
    names = {name: name.replace(COMPILED, "") for name in stored}
    prefix = next((each for each in PREFIXES if any(name.startswith(each) for name in names.values())), "")
    if prefix:  # a whole checkpoint of ComfyUI's holds its encoders beside, under other prefixes
        names = {name: kept.removeprefix(prefix) for name, kept in names.items() if kept.startswith(prefix)}
    tensors, scales = {}, {}
    for name, kept in names.items():
        scaled = next((kept.removesuffix(end) for end in _SCALES if kept.endswith(end)), None)
        if scaled is not None:
            scales[f"{scaled}.weight"] = stored[name]
        elif kept != _MARK and not kept.endswith((*_OF_ACTIVATIONS, _FORMAT)):
            tensors[kept] = stored[name]
    return Named(tensors, scales, compiled, prefix)
