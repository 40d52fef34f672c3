"""A denoiser whose blocks are unread: its other weights are in host memory, and each block is read when somebody asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn

from distill_core.errors import ModelFolderError
from distill_core.protocols.model import Later
from distill_core.training.sharding import blocks_of
from distill_diffusers.quiet import quietly
from distill_diffusers.stored_part import Called, StoredPart
from distill_diffusers.weights import StoredTensor, listed

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
"""safetensors' names of what a denoiser is stored in."""


def readable(stored: StoredPart) -> bool:
    """Whether its tensors can be read one by one."""
    return all(tensor.dtype in _DTYPES for tensor in stored.tensors.values())


def unread_part(stored: StoredPart, called: Called, kind: Any, dtype: torch.dtype, later: Later) -> Any:
    """A network of the class ``kind``, as ``from_pretrained`` would hold it in ``dtype``, but for its blocks: ``later`` gets those.

    ``Any``: diffusers' classes have no common type. Raises ModelFolderError for weights that are not those of the class.
    """
    with quietly(), torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        model = kind.from_config(kind.load_config(called.config, local_files_only=True))
    assert isinstance(model, nn.Module)
    tensors = model.state_dict()
    names = list(tensors)
    missing = [name for name in names if name not in stored.tensors]
    if missing:
        raise ModelFolderError(
            f"{stored.place} lacks {listed(missing)}, which the installed {kind.__name__} has; install another diffusers or fetch it again"
        )
    exact = frozenset(kind._keep_in_fp32_modules or ())
    dtypes = {name: torch.float32 if exact.intersection(name.split(".")) else dtype for name in names}
    prefixes = {block: name for name, block in model.named_modules()}
    rest = dict(dtypes)
    for block in blocks_of(model):
        inside = {name: rest.pop(name) for name in names if name.startswith(f"{prefixes[block]}.")}
        places = _places(model, inside)
        for name, place in places.items():  # nothing yet, but of the dtype that it will have
            _put(*place, tensors[name], inside[name])
        later(block, partial(_read, stored, places, inside))
    _read(stored, _places(model, rest), rest)
    return model.eval()


Places = Mapping[str, tuple[nn.Module, str]]
"""By the name of a tensor, the layer that has it and its name there."""


def _places(model: nn.Module, names: Mapping[str, torch.dtype]) -> Places:
    split = {name: name.rpartition(".") for name in names}
    return {name: (model.get_submodule(parent), last) for name, (parent, _, last) in split.items()}


def _read(stored: StoredPart, places: Places, dtypes: Mapping[str, torch.dtype]) -> None:
    """Put tensors where they belong, one after another. A file is not mapped: what is mapped counts as memory of its own size."""
    for name, place in places.items():
        _put(*place, _tensor(stored.tensors[name]), dtypes[name])


def _tensor(stored: StoredTensor) -> Tensor:
    held = torch.empty(stored.shape, dtype=_DTYPES[stored.dtype])
    with stored.file.open("rb") as stream:
        stream.seek(stored.start)
        read = stream.readinto(held.reshape(-1).view(torch.uint8).numpy().data)
    if read != stored.end - stored.start:
        raise ModelFolderError(f"{stored.file} was cut short while it was read; fetch it again")
    return held


def _put(layer: nn.Module, name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    held = tensor.to(dtype) if tensor.is_floating_point() else tensor
    if name in dict(layer.named_parameters(recurse=False)):
        layer.register_parameter(name, nn.Parameter(held, requires_grad=False))
    else:
        layer.register_buffer(name, held)
