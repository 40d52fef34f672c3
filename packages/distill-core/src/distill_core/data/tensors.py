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


def tensor_columns(name: str, tensor: Tensor) -> dict[str, object]:
    """``tensor`` as the columns ``<name>_bytes``, ``<name>_shape`` and ``<name>_dtype``."""
    return {
        f"{name}_bytes": tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes(),
        f"{name}_shape": list(tensor.shape),
        f"{name}_dtype": str(tensor.dtype).removeprefix("torch."),
    }


def tensor_of(data: pa.Buffer, shape: Sequence[int], dtype_name: str, dimensions: str) -> Tensor:
    """The tensor behind three columns, a copy of its own, in the dtype that it is stored in.

    ``dimensions`` names the dimensions that it must have, e.g. "CTHW"; ``dtype_name`` is numpy's or torch's name
    ("float32", "torch.bfloat16"). Raises DataError, without saying where, if the columns contradict each other or a
    value is not finite.
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
    # The copy gives memory that is writable and aligned; Arrow's is neither for certain.
    tensor = torch.from_numpy(np.frombuffer(data, np.uint8).copy()).view(dtype).view(*shape)
    if not is_finite(tensor):
        raise DataError("holds NaN or infinity")
    return tensor


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite. One pass without temporaries: NaN propagates into both extremes."""
    lowest, highest = tensor.aminmax()
    return math.isfinite(lowest) and math.isfinite(highest)
