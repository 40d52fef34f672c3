"""Tensors of any size that hold nothing: shapes, strides and dtypes are worked out, numbers are not.

Inside :func:`hollow_world` what is large is hollow, and so is what is made of it. Small tensors are real all the same, so that what a run
decides by numbers (which expert a timestep belongs to, how long a caption is) is decided as ever. A hollow tensor says that it is on the
CPU. What asks for its numbers is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from distill_core.errors import PlanError

REAL_UP_TO = 1 << 14
"""Elements of a tensor that is made anew and real all the same."""

LOOKED_UP_TO = 1 << 20
"""Elements that are looked up in a real table of weights and are real too: more, and nobody decides by them."""

_META = torch.device("meta")
_CHOICE = torch.ops.aten._fused_sdp_choice.default
_LOOKUP = torch.ops.aten.embedding.default
_READS = frozenset({torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default})
"""Operations whose answer is a number of the host's."""


class HollowTensor(Tensor):
    """A tensor on the CPU of which there is only ``meta``, a tensor on the meta device; views share its storage."""

    meta: Tensor

    @staticmethod
    def __new__(cls, meta: Tensor) -> HollowTensor:
        """Around a tensor of the meta device."""
        made: HollowTensor = Tensor._make_wrapper_subclass(
            cls,
            meta.shape,
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            layout=meta.layout,
            device=torch.device("cpu"),
            requires_grad=False,
        )
        made.meta = meta
        return made

    def __torch_dispatch__(self, *args: Any, **kwargs: Any) -> Any:
        """Outside of the world nothing can be done with it. The first argument is the operation."""
        raise PlanError(f"{args[0]} is asked of a tensor without content, outside of the plan that it was made for")


def storage_of(tensor: Tensor) -> torch.UntypedStorage:
    """The storage that a tensor, hollow or real, is a view of."""
    return tensor.meta.untyped_storage() if isinstance(tensor, HollowTensor) else tensor.untyped_storage()


@contextmanager
def hollow_world() -> Iterator[None]:
    """Inside, no memory is needed for large tensors, and no time for what is done with them."""
    with torch._C.DisableTorchFunctionSubclass(), HollowWorld():  # no Python for each call before it is dispatched
        yield


class HollowWorld(TorchDispatchMode):
    """What carries out operations in :func:`hollow_world`."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch's switch: nothing is compiled here, so no call is guarded against it."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Carry out an operation on real tensors alone; work out the shapes of any other."""
        named = {} if kwargs is None else kwargs
        tensors = tensors_of(args, named)
        if any(isinstance(tensor, HollowTensor) for tensor in tensors):
            return _chosen(func, args, named) if func is _CHOICE else _pretended(func, args, named)
        if _makes_anew(func) and _size(tensors, args) > REAL_UP_TO and str(named.get("device")) != "meta":
            return _pretended(func, args, named)
        if func is _LOOKUP and args[0].shape[1] * args[1].numel() > LOOKED_UP_TO:  # e.g. what T5 adds to its logits
            return _pretended(func, args, named)
        return func(*args, **named)


def tensors_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors among arguments, lists of them too."""
    found: list[Tensor] = []
    for each in (*args, *kwargs.values()):
        if isinstance(each, Tensor):
            found.append(each)
        elif isinstance(each, (list, tuple)):
            found += [one for one in each if isinstance(one, Tensor)]
    return found


def hollow_out(module: nn.Module, seen: dict[int, nn.Parameter]) -> None:
    """Make every parameter hollow, the small ones too: what training changes has no numbers. ``seen``: those already made, by identity."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if isinstance(parameter, HollowTensor):
                continue
            if id(parameter) not in seen:
                hollow = HollowTensor(_as_meta(parameter))
                seen[id(parameter)] = nn.Parameter(hollow, requires_grad=parameter.requires_grad)
                seen[id(seen[id(parameter)])] = parameter  # keeps both alive, so that no identity comes twice
            part.register_parameter(name, seen[id(parameter)])


@cache
def _makes_anew(func: Any) -> bool:
    """Whether an operation makes a tensor that is a view of none: what ``torch.empty``, ``randn`` and their like are."""
    name = func._schema.name.removeprefix("aten::")
    plain = ("empty", "zeros", "ones", "full", "rand", "randn", "randint", "normal")
    return name.removesuffix("_like").removeprefix("new_").removesuffix("_strided") in plain


def _size(tensors: Sequence[Tensor], args: Sequence[Any]) -> int:
    """Elements of what is made anew, from a size or from a tensor that it is to be like."""
    sizes = [each for each in args if isinstance(each, (list, tuple)) and all(isinstance(one, int) for one in each)]
    return prod(sizes[0]) if sizes else max((tensor.numel() for tensor in tensors), default=0)


def _as_meta(tensor: Tensor) -> Tensor:
    if isinstance(tensor, HollowTensor):
        return tensor.meta
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_META)


def _mapped(value: Any, change: Callable[[Tensor], object]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_mapped(each, change) for each in value])
    return value


def _chosen(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Which kernel attention takes: as torch says of tensors of that shape, whose memory nobody ever touches."""

    def untouched(tensor: Tensor) -> Tensor:
        """Of the same shape."""
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype).requires_grad_(
            tensor.requires_grad
        )

    return func(*_mapped(tuple(args), untouched), **{name: _mapped(each, untouched) for name, each in kwargs.items()})


@dataclass(frozen=True)
class _Nature:
    """What an operation's schema says of it.

    Attributes:
        views: whether what it returns shares a storage with what it was given.
        changed: the places of the arguments that it changes.
        returns: whether it returns anything.
        takes_device: whether it is told a device.
        anew: whether it makes a tensor from none.
    """

    views: bool
    changed: tuple[int, ...]
    returns: bool
    takes_device: bool
    anew: bool


@cache
def _nature(func: Any) -> _Nature:
    schema = func._schema
    changed = [
        place
        for place, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return _Nature(
        views=any(returned.alias_info is not None for returned in schema.returns),
        changed=tuple(changed),
        returns=bool(schema.returns),
        takes_device=any(argument.name == "device" for argument in schema.arguments),
        anew=_makes_anew(func),
    )


def _pretended(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The outcome of an operation, by shape. Raises PlanError for one that has none without numbers."""
    nature = _nature(func)
    if func in _READS:
        raise PlanError(_refusal(func))
    if nature.changed:
        return _changed(func, nature, args, kwargs)
    if nature.views:
        return _mapped(_worked_out(func, nature, args, kwargs), _wrapped)
    key = _key(func, args, kwargs)
    if key in _known:
        return _made(_known[key])
    made = _worked_out(func, nature, args, kwargs)
    if not _shares(
        tensors_of((made,), {}), tensors_of(args, kwargs)
    ):  # `_unsafe_view` is a view, and its schema does not say so
        _known[key] = _mapped(made, _form)
    return _mapped(made, _wrapped)


def _shares(made: Sequence[Tensor], given: Sequence[Tensor]) -> bool:
    storages = {storage_of(tensor)._cdata for tensor in given}
    return any(tensor.untyped_storage()._cdata in storages for tensor in made)


def _changed(func: Any, nature: _Nature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What was given, as it was: its shape stays."""
    if not nature.returns:
        return None
    names = [func._schema.arguments[place].name for place in nature.changed]
    given = [
        args[place] if place < len(args) else kwargs[name] for place, name in zip(nature.changed, names, strict=True)
    ]
    return given[0] if len(func._schema.returns) == 1 else tuple(given)


@dataclass(frozen=True)
class _Form:
    """A tensor but for its storage."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


_known: dict[Any, Any] = {}
"""What became of operations on tensors of given forms: a model's layers are alike, and working it out takes longer than anything else."""


def _form(tensor: Tensor) -> _Form:
    return _Form(tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _made(outcome: Any) -> Any:
    if isinstance(outcome, _Form):
        return HollowTensor(torch.empty_strided(outcome.shape, outcome.stride, dtype=outcome.dtype, device=_META))
    return type(outcome)([_made(each) for each in outcome]) if isinstance(outcome, (list, tuple)) else outcome


def _key(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The operation and the forms of what it is given."""

    def hashable(value: Any) -> Any:
        """A form for a tensor; a number with its type, as 1 and 1.0 are not the same to a dtype."""
        if isinstance(value, Tensor):
            return (value.shape, value.stride(), value.dtype, value.requires_grad and func is _CHOICE)
        if isinstance(value, (list, tuple)):
            return tuple([hashable(each) for each in value])
        return (type(value), value) if isinstance(value, (bool, int, float)) else str(value)

    return (func, *[hashable(each) for each in args], *[(name, hashable(each)) for name, each in kwargs.items()])


def _worked_out(func: Any, nature: _Nature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """By torch's meta kernels."""
    named = {name: _mapped(each, _as_meta) for name, each in kwargs.items()}
    if nature.takes_device and (nature.anew or "device" in named):
        named["device"] = _META
    for name in ("generator", "pin_memory"):
        if name in named:
            named[name] = None
    try:
        return func(*[_mapped(each, _as_meta) for each in args], **named)
    except NotImplementedError as error:
        raise PlanError(_refusal(func)) from error


def _wrapped(tensor: Tensor) -> Tensor:
    return HollowTensor(tensor) if tensor.device.type == "meta" else tensor


def _refusal(func: Any) -> str:
    return (
        f"the run reads numbers off the device in the middle of a step ({func}), so its memory cannot be told without its weights; "
        "run it for a step instead"
    )
