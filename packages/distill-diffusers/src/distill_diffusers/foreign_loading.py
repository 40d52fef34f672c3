"""Loading weights that a class's own ``from_pretrained`` does not read: single files, other names, fp8, gguf."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_core.plugins.loading import load_target
from distill_diffusers.conversion import converted
from distill_diffusers.deferred import Deferred, NumbersAskedError
from distill_diffusers.pickles import read_pickle
from distill_diffusers.quiet import quietly
from distill_diffusers.stored_names import plain
from distill_diffusers.stored_part import PICKLES, Called, StoredPart
from distill_diffusers.tensor_bytes import DTYPES, read_tensor
from distill_diffusers.weights import StoredTensor, headers, listed


def load_foreign(stored: StoredPart, called: Called, kind: Any, dtype: torch.dtype) -> Any:
    """A network of the class ``kind`` in ``dtype``, as its ``from_pretrained`` would hold it.

    ``Any``: diffusers' classes have no common type. Raises ModelFolderError for weights that are not those of the class.
    """
    tensors = _tensors(stored)
    if stored.original:
        tensors = converted(called.class_name, called.config, tensors)
    with quietly(), torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        model = kind.from_config(kind.load_config(called.config, local_files_only=True))
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise ModelFolderError(
            f"{stored.place} lacks {listed(missing)}, which the installed {kind.__name__} has; install another diffusers"
        )
    exact = frozenset(kind._keep_in_fp32_modules or ())
    held = {
        name: tensors[name].reshape(tensor.shape).to(torch.float32 if exact.intersection(name.split(".")) else dtype)
        for name, tensor in wanted.items()
    }
    model.load_state_dict(held, assign=True)
    return model.eval()


def deferred_tensors(stored: StoredPart, called: Called) -> Mapping[str, Tensor] | None:
    """The tensors of a part by the names of the class, each read when it is asked for; None for a part that can be read whole alone."""
    try:
        tensors = _by_plain_names(stored, _deferred(stored))
        return converted(called.class_name, called.config, tensors) if stored.original else tensors
    except NumbersAskedError:
        return None
    except ModelFolderError as refusal:
        if isinstance(refusal.__cause__, NumbersAskedError):
            return None
        raise


def _deferred(stored: StoredPart) -> Mapping[str, Tensor]:
    """By the names of the files. Raises NumbersAskedError for tensors of a dtype that is not read so."""
    found: dict[str, Tensor] = {}
    for file in stored.files:
        if stored.gguf:
            found |= load_target("distill_diffusers.gguf_files:deferred_gguf")(file)
        elif file.suffix in PICKLES:  # a pickle is mapped, so what is not looked at is not read
            found |= {name: _as_mapped(each) for name, each in read_pickle(file).items()}
        else:
            found |= {name: _of_bytes(each) for name, each in headers([file]).items()}
    return found


def _as_mapped(tensor: Tensor) -> Tensor:
    return Deferred(
        torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta"), lambda: tensor
    )


def _of_bytes(stored: StoredTensor) -> Tensor:
    if stored.dtype not in DTYPES:
        raise NumbersAskedError(f"tensors of {stored.dtype} are read whole")
    meta = torch.empty(stored.shape, dtype=DTYPES[stored.dtype], device="meta")
    return Deferred(meta, partial(read_tensor, stored))


def _tensors(stored: StoredPart) -> Mapping[str, Tensor]:
    """The tensors by plain names; those in fp8 times their scales."""
    found: dict[str, Tensor] = {}
    for file in stored.files:
        if stored.gguf:
            found |= load_target("distill_diffusers.gguf_files:read_gguf")(file)
        elif file.suffix in PICKLES:
            found |= read_pickle(file)
        else:
            found |= load_file(file)
    return _by_plain_names(stored, found)


def _by_plain_names(stored: StoredPart, found: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    named = plain(found)
    return {
        name: _scaled(name, tensor, named.scales[name], stored) if name in named.scales else tensor
        for name, tensor in named.tensors.items()
    }


def _scaled(name: str, weight: Tensor, scale: Tensor, stored: StoredPart) -> Tensor:
    """A weight with its scale: one for all of it, or one for each of its rows."""
    if scale.numel() not in (1, len(weight)):
        raise ModelFolderError(
            f"{stored.place}: the scale of {name} has the shape {list(scale.shape)}; one for the weight or for each row is expected: "
            "name plain weights"
        )
    return weight.float() * scale.float().reshape(-1, *(1 for _ in weight.shape[1:]))
