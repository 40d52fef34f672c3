"""Tensors as three columns of a row: bytes, shape, dtype. Knows no file and no schema."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from distill_core.errors import DataError

DTYPES: Mapping[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
"""The dtypes that data may be stored in, by name."""

_SHORT = {"<f2": "float16", "<f4": "float32", "<f8": "float64"}
"""How numpy writes a dtype in short, little-endian."""

_BITS: Mapping[torch.dtype, tuple[torch.dtype, int]] = {
    torch.float16: (torch.int16, 0x7C00),
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float32: (torch.int32, 0x7F80_0000),
    torch.float64: (torch.int64, 0x7FF0_0000_0000_0000),
}
"""Of each dtype, integers of its width, and its exponent with every bit set: that of infinity, and of NaN."""


LARGE_EXPONENT = 24
"""No latent, and no text embedding, holds a value of 2^24. Bytes in another order, or of another type, soon do."""

_LARGE: Mapping[torch.dtype, int] = {
    torch.float16: 0x7C00,
    torch.bfloat16: (127 + LARGE_EXPONENT) << 7,
    torch.float32: (127 + LARGE_EXPONENT) << 23,
    torch.float64: (1023 + LARGE_EXPONENT) << 52,
}
"""Of each dtype, the bits of 2^24; of float16, which does not reach as far, those of infinity."""


def tensor_columns(name: str, tensor: Tensor) -> dict[str, object]:
    """``tensor`` as the columns ``<name>_bytes``, ``<name>_shape`` and ``<name>_dtype``."""
    return {
        f"{name}_bytes": tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes(),
        f"{name}_shape": list(tensor.shape),
        f"{name}_dtype": str(tensor.dtype).removeprefix("torch."),
    }


def tensor_of(
    data: pa.Buffer, shape: Sequence[int], dtype_name: str, dimensions: str, *, owned: bool = False, verify: bool = True
) -> Tensor:
    """The tensor behind three columns, in the dtype that it is stored in.

    ``dimensions`` names the dimensions that it must have, e.g. "CTHW"; ``dtype_name`` is a name of :func:`dtype_of`. ``owned`` says
    that nobody else will read ``data``: the tensor then lies in its memory where that can be written to, instead of in a copy.
    Without ``verify`` its values may be NaN or infinite.

    Raises DataError, without saying where, if the columns contradict each other or a value is not finite, or larger than any is.
    """
    dtype = dtype_of(dtype_name)
    if dtype is None:
        raise DataError(unknown_dtype(dtype_name))
    if fault := misshape(shape, dimensions):
        raise DataError(fault)
    if data.size != math.prod(shape) * dtype.itemsize:
        due = math.prod(shape) * dtype.itemsize
        raise DataError(f"has {data.size} bytes; its shape {list(shape)} in {dtype_name} makes {due}")
    values = np.frombuffer(data, np.uint8)
    if not (owned and data.is_mutable and data.address % dtype.itemsize == 0):
        values = values.copy()  # memory of its own, writable and aligned
    tensor = torch.from_numpy(values).view(dtype).view(*shape)
    if verify and not _is_below(tensor, _LARGE[dtype]):
        if not is_finite(tensor):
            raise DataError("holds NaN or infinity")
        raise DataError(f"holds values beyond 2^{LARGE_EXPONENT}; are its bytes {dtype_name}, and little-endian?")
    return tensor


def unknown_dtype(name: str) -> str:
    """The message for a dtype that data cannot be stored in."""
    return f"has the dtype {name!r}; known are {', '.join(DTYPES)}"


def misshape(shape: Sequence[int | None], dimensions: str) -> str | None:
    """Why a shape cannot be that of a tensor of these dimensions, or None if it can."""
    if len(shape) == len(dimensions) and all(size is not None and size >= 1 for size in shape):
        return None
    return f"has the shape {list(shape)}; {len(dimensions)} positive sizes are due, [{', '.join(dimensions)}]"


def dtype_of(name: str) -> torch.dtype | None:
    """The dtype of a name: torch's ("torch.float32"), numpy's ("float32"), or numpy's short one ("<f4"); None for any other."""
    return DTYPES.get(_SHORT.get(name, name.removeprefix("torch.")))


def is_finite(tensor: Tensor) -> bool:
    """Whether no value of a contiguous CPU tensor is NaN or infinite.

    Compares bits, by numpy: two passes without temporaries at the speed of memory in every dtype, and, other than
    torch, with no threads of its own, which a thread that reads ahead must not have.
    """
    return _is_below(tensor, _BITS[tensor.dtype][1])


def _is_below(tensor: Tensor, bits: int) -> bool:
    """Whether every value is less, but for its sign, than that of these bits, and none is NaN."""
    signed = tensor.view(_BITS[tensor.dtype][0]).numpy()
    unsigned = signed.view(f"u{signed.dtype}")  # negative numbers are the large ones here
    sign = 1 << (8 * tensor.itemsize - 1)
    return int(signed.max()) < bits and int(unsigned.max()) < bits + sign
