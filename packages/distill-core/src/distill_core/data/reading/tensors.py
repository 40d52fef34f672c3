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

_BITS: Mapping[torch.dtype, tuple[torch.dtype, int]] = {
    torch.float16: (torch.int16, 0x7C00),
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float32: (torch.int32, 0x7F80_0000),
    torch.float64: (torch.int64, 0x7FF0_0000_0000_0000),
}
"""Of each dtype, integers of its width, and its exponent with every bit set: that of infinity, and of NaN."""


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

    ``dimensions`` names the dimensions that it must have, e.g. "CTHW"; ``dtype_name`` is numpy's or torch's name
    ("float32", "torch.bfloat16"). ``owned`` says that nobody else will read ``data``: the tensor then lies in its memory
    where that can be written to, instead of in a copy. Without ``verify`` its values may be NaN or infinite.

    Raises DataError, without saying where, if the columns contradict each other or a value is not finite.
    """
    dtype = DTYPES.get(dtype_name.removeprefix("torch."))
    if dtype is None:
        raise DataError(f"has the dtype {dtype_name!r}; known are {', '.join(DTYPES)}")
    if len(shape) != len(dimensions) or min(shape) < 1:
        raise DataError(
            f"has the shape {list(shape)}; {len(dimensions)} positive sizes are due, [{', '.join(dimensions)}]"
        )
    if data.size != math.prod(shape) * dtype.itemsize:
        due = math.prod(shape) * dtype.itemsize
        raise DataError(f"has {data.size} bytes; its shape {list(shape)} in {dtype_name} makes {due}")
    values = np.frombuffer(data, np.uint8)
    if not (owned and data.is_mutable and data.address % dtype.itemsize == 0):
        values = values.copy()  # memory of its own, writable and aligned
    tensor = torch.from_numpy(values).view(dtype).view(*shape)
    if verify and not is_finite(tensor):
        raise DataError("holds NaN or infinity")
    return tensor


def is_finite(tensor: Tensor) -> bool:
    """Whether no value of a contiguous CPU tensor is NaN or infinite.

    Compares bits, by numpy: two passes without temporaries at the speed of memory in every dtype, and, other than
    torch, with no threads of its own, which a thread that reads ahead must not have.
    """
    integers, infinity = _BITS[tensor.dtype]
    signed = tensor.view(integers).numpy()
    unsigned = signed.view(f"u{signed.dtype}")  # negative numbers are the large ones here
    sign = 1 << (8 * tensor.itemsize - 1)
    return int(signed.max()) < infinity and int(unsigned.max()) < infinity + sign
