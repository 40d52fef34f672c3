"""A module of a method's own, e.g. a head on features: what it does not take is said by its role's name and the shapes it was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from distill_core.errors import DistillError, PluginError
from distill_core.memory_full import ran_out
from distill_core.plugins.border import describe

# ``Any`` below: what a method's own module takes and gives is between the two.


def named(role: str, module: nn.Module) -> nn.Module:
    """The module, whose forward pass raises PluginError for what it cannot compute."""
    module.forward = partial(_called, role, module.forward)
    return module


def _called(role: str, forward: Callable[..., Any], *given: Any, **named_ones: Any) -> Any:
    try:
        return forward(*given, **named_ones)
    except Exception as error:
        if isinstance(error, DistillError) or ran_out(error) is not None:
            raise
        shapes = ", ".join(str(list(tensor.shape)) for tensor in _tensors([*given, *named_ones.values()]))
        raise PluginError(
            f"the module of role {role!r} does not take what the method gives it ({shapes}): {describe(error)}; its factory is told what "
            "the models give, e.g. facts[ROLE].feature_width"
        ) from error


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
