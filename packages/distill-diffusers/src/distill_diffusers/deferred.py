"""Tensors that are not there yet: what is done to one is worked out by shape, and done when somebody asks for its numbers.

So diffusers' conversion of a whole release, which splits, joins and renames, takes no memory, and each tensor of it is made of those that
it consists of alone, by the same operations. What decides by numbers, or changes a tensor in place, cannot be done so, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor


class NumbersAskedError(RuntimeError):
    """What was asked takes the numbers of a tensor that is not there yet."""


class Deferred(Tensor):
    """A tensor of which there is ``meta``, one of the meta device, and what makes it."""

    meta: Tensor
    make: Callable[[], Tensor]

    @staticmethod
    def __new__(cls, meta: Tensor, make: Callable[[], Tensor]) -> Deferred:
        """On the CPU, by what it says of itself."""
        made: Deferred = Tensor._make_wrapper_subclass(
            cls, meta.shape, strides=meta.stride(), dtype=meta.dtype, device=torch.device("cpu"), requires_grad=False
        )
        made.meta, made.make = meta, make
        return made

    @classmethod
    def __torch_dispatch__(cls, *called: Any, **_: Any) -> Any:
        """The outcome of an operation, deferred. Raises NumbersAskedError for one that takes numbers, or changes what it is given."""
        func, _types, args, kwargs = called
        if func._schema.is_mutable:
            raise NumbersAskedError(f"{func} changes a tensor in place")
        try:
            meta = func(*_each(tuple(args), _meta), **_each(kwargs, _meta))
        except RuntimeError as error:  # torch has a class of its own for some of them
            raise NumbersAskedError(f"{func} takes numbers") from error
        done = partial(_done, func, args, kwargs)
        if isinstance(meta, Tensor):
            return Deferred(meta, done)
        if isinstance(meta, (list, tuple)) and all(isinstance(each, Tensor) for each in meta):
            return type(meta)([Deferred(each, partial(_one_of, done, place)) for place, each in enumerate(meta)])
        raise NumbersAskedError(f"{func} takes numbers")


def now(tensor: Tensor) -> Tensor:
    """The tensor itself."""
    return tensor.make() if isinstance(tensor, Deferred) else tensor


def _one_of(done: Callable[[], Sequence[Tensor]], place: int) -> Tensor:
    return done()[place]


def _done(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*_each(tuple(args), now), **_each(kwargs, now))


def _meta(tensor: Tensor) -> Tensor:
    return tensor.meta if isinstance(tensor, Deferred) else tensor.to("meta")


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_each(one, change) for one in value])
    if isinstance(value, dict):
        return {name: _each(one, change) for name, one in value.items()}
    return value
