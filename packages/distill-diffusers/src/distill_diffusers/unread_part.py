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
from distill_diffusers.deferred import now
from distill_diffusers.quiet import quietly
from distill_diffusers.stored_part import Called, StoredPart
from distill_diffusers.weights import listed


def unread_part(
    stored: StoredPart, called: Called, found: Mapping[str, Tensor], kind: Any, dtype: torch.dtype, later: Later
) -> Any:
    """A network of the class ``kind``, as ``from_pretrained`` would hold it in ``dtype``, but for its blocks: ``later`` gets those.

    ``found``: its tensors, each of which may be one that is read when it is asked for. ``Any``: diffusers' classes have no common type.
    Raises ModelFolderError for weights that are not those of the class.
    """
    with quietly(), torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        model = kind.from_config(kind.load_config(called.config, local_files_only=True))
    assert isinstance(model, nn.Module)
    tensors = model.state_dict()
    names = list(tensors)
    missing = [name for name in names if name not in found]
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
        later(block, partial(_read, found, places, inside))
    _read(found, _places(model, rest), rest)
    return model.eval()


Places = Mapping[str, tuple[nn.Module, str]]
"""By the name of a tensor, the layer that has it and its name there."""


def _places(model: nn.Module, names: Mapping[str, torch.dtype]) -> Places:
    split = {name: name.rpartition(".") for name in names}
    return {name: (model.get_submodule(parent), last) for name, (parent, _, last) in split.items()}


def _read(found: Mapping[str, Tensor], places: Places, dtypes: Mapping[str, torch.dtype]) -> None:
    """Put tensors where they belong, one after another."""
    for name, place in places.items():
        _put(*place, now(found[name]), dtypes[name])


def _put(layer: nn.Module, name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """In the shape of what is there: a gguf tensor has four dimensions at most."""
    parameters = dict(layer.named_parameters(recurse=False))
    shaped = tensor.reshape((parameters[name] if name in parameters else layer.get_buffer(name)).shape)
    held = shaped.to(dtype) if shaped.is_floating_point() else shaped
    if name in parameters:
        layer.register_parameter(name, nn.Parameter(held, requires_grad=False))
    else:
        layer.register_buffer(name, held)
