"""AdamW whose moments are held in 8 bits, by torchao, an extra of the core: kept as a run wants its optimizers, from the first step on."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from distill_core.config.schema import Optimization
from distill_core.errors import ConfigError, Problem
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.weightless import is_weightless
from distill_core.training.by_rule import EightBitByRule

LIBRARY = "torchao"


def missing() -> str | None:
    """Why there is none here; None if there is."""
    if find_spec(LIBRARY) is None:
        return f"adamw8bit is of {LIBRARY}, which is not installed; pip install 'distill-core[{LIBRARY}]'"
    return None


def eight_bit_adamw(parameters: Sequence[nn.Parameter], settings: Optimization) -> torch.optim.Optimizer:
    """The optimizer, its state there as after no step. Raises ConfigError where it does not run: it compiles its update."""
    if is_weightless():
        return EightBitByRule(parameters)
    try:
        with plugin_border():
            library: Any = import_module("torchao.optim")
            made: torch.optim.Optimizer = library.AdamW8bit(
                parameters,
                lr=settings.learning_rate,
                betas=settings.betas,
                eps=settings.adam_epsilon,
                weight_decay=settings.weight_decay,
            )
            _seed(made, parameters)
    except RefusedError as refusal:
        fault = f"torchao's adamw8bit does not run on this machine ({refusal.reason}); choose adamw"
        raise ConfigError([Problem("training.optimizer", fault)]) from refusal
    return made


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next update. torchao's is a tensor: a number would be compiled into the update."""
    for group in optimizer.param_groups:
        group["lr"].fill_(rate)


def _seed(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> None:
    """A step at a rate of 0 over gradients of 0 makes the state and changes nothing; then no step was made."""
    set_rate(optimizer, 0.0)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter in parameters:
        parameter.grad = None
        optimizer.state[parameter]["step"].zero_()
