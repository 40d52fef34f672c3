"""A tensor of a safetensors file, read by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_diffusers.weights import StoredTensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "U8": torch.uint8,
}
"""safetensors' names of what a denoiser is stored in."""


def read_tensor(stored: StoredTensor) -> Tensor:
    """Its content. A file is not mapped: what is mapped counts as memory of its own size. Raises ModelFolderError for one cut short."""
    held = torch.empty(stored.shape, dtype=DTYPES[stored.dtype])
    with stored.file.open("rb") as stream:
        stream.seek(stored.start)
        read = stream.readinto(held.reshape(-1).view(torch.uint8).numpy().data)
    if read != stored.end - stored.start:
        raise ModelFolderError(f"{stored.file} was cut short while it was read; fetch it again")
    return held
