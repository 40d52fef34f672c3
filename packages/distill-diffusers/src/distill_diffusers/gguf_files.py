"""Weights in gguf files, which quantize in blocks: read by the package gguf, dequantized by diffusers. Needs the package."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.model_loading_utils import load_gguf_checkpoint
from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES, GGUFParameter, dequantize_gguf_tensor
from gguf import GGMLQuantizationType, GGUFReader, ReaderTensor
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_diffusers.deferred import Deferred
from distill_diffusers.weights import StoredTensor

_FLOATS = (GGMLQuantizationType.F32, GGMLQuantizationType.F16)


def gguf_headers(files: list[Path]) -> dict[str, StoredTensor]:
    """The tensors of a gguf file, by their names; the dtype is the kind of quantization.

    Raises ModelFolderError for a damaged file, and a kind that diffusers does not dequantize.
    """
    (file,) = files
    try:
        tensors = GGUFReader(file).tensors
    except (ValueError, OSError, LookupError) as error:
        raise ModelFolderError(f"{file} is no gguf file, or is damaged: {error}; fetch it again") from error
    found: dict[str, StoredTensor] = {}
    for tensor in tensors:
        kind = tensor.tensor_type
        if kind not in (*_FLOATS, *SUPPORTED_GGUF_QUANT_TYPES):
            raise ModelFolderError(
                f"{file}: {tensor.name} is quantized as {kind.name}, which diffusers does not dequantize; name a file of Q8_0 or Q4_K, "
                "or plain weights"
            )
        shape = tuple(int(size) for size in reversed(tensor.shape))
        found[tensor.name] = StoredTensor(file, kind.name, shape, 0, 0)
    return found


def deferred_gguf(file: Path) -> dict[str, Tensor]:
    """The same as :func:`read_gguf`, each when it is asked for: the file is mapped."""
    return {tensor.name: _deferred(tensor) for tensor in GGUFReader(file).tensors}


def _deferred(tensor: ReaderTensor) -> Tensor:
    meta = torch.empty(tuple(int(size) for size in reversed(tensor.shape)), device="meta")
    return Deferred(meta, lambda: _dequantized(tensor).reshape(meta.shape))


def _dequantized(tensor: ReaderTensor) -> Tensor:
    """One tensor, float32."""
    held = torch.from_numpy(tensor.data.copy())
    if tensor.tensor_type not in _FLOATS:
        held = GGUFParameter(held, quant_type=tensor.tensor_type)
    plain: Tensor = dequantize_gguf_tensor(held).to(torch.float32).as_subclass(Tensor)
    return plain


def read_gguf(file: Path) -> dict[str, Tensor]:
    """The tensors of a gguf file, dequantized to float32."""
    return {
        name: dequantize_gguf_tensor(tensor).to(torch.float32).as_subclass(Tensor)
        for name, tensor in load_gguf_checkpoint(file).items()
    }
