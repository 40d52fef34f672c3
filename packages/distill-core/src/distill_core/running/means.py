"""What roles ask of the machine and of installed libraries: refused by name where it is not to be had, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from distill_core.config import checks
from distill_core.config.recomputation import recomputation_of
from distill_core.config.resolve import Findings, ResolvedRun
from distill_core.config.schema import LIBRARIES, RunConfig
from distill_core.errors import ConfigError, Problem
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.loading import load_target
from distill_core.plugins.specs import ModelSpec
from distill_core.plugins.weightless import is_weightless
from distill_core.ranks.layout import Layout
from distill_core.training.compiled import why_not_compiled
from distill_core.training.eight_bit import missing
from distill_core.training.quantized import why_not


def refuse_narrow_weights(config: RunConfig, compute: torch.dtype) -> None:
    """Raise ConfigError for roles whose weights are to be held in less than a forward pass computes in."""
    narrow = list(checks.narrow_weights(config, compute_is_fp32=compute is torch.float32))
    if narrow:
        raise ConfigError([Problem(key, message) for key, message in narrow])


def refuse_optimizers(config: RunConfig) -> None:
    """Raise ConfigError for optimizers whose library is not installed."""
    asked = {"training": config.training.optimizer}
    asked |= {f"roles.{name}": role.optimizer for name, role in config.roles.items() if role.optimizer is not None}
    fault = None if is_weightless() else missing()
    problems = [Problem(f"{key}.optimizer", fault) for key, kind in asked.items() if kind == "adamw8bit" and fault]
    if problems:
        raise ConfigError(problems)


def refuse_quantized(config: RunConfig, device: torch.device, compute: torch.dtype) -> None:
    """Raise ConfigError for roles whose weights are to be held in what this machine, or what is installed, cannot hold them in."""
    kinds = set() if is_weightless() else {role.weights for role in config.roles.values()} & LIBRARIES.keys()
    faults = {kind: why_not(kind, device, compute) for kind in sorted(kinds)}
    problems = [
        Problem(f"roles.{name}.weights", fault)
        for name, role in config.roles.items()
        if (fault := faults.get(role.weights)) is not None
    ]
    if problems:
        raise ConfigError(problems)


def refuse_placed(config: RunConfig, layout: Layout) -> None:
    """Raise ConfigError for weights that are to live in host memory, and whose blocks are not called as they were loaded."""
    problems = []
    for name, role in config.roles.items():
        if layout.shard > 1 and role.ema is not None and role.ema.placement == "cpu":
            fault = "averages of weights in parts stay on their devices; set distributed.shard=1, or leave this out"
            problems.append(Problem(f"roles.{name}.ema.placement", fault))
        if role.placement == "device":
            continue
        if layout.shard > 1:
            fault = "weights in parts stay on their devices; set distributed.shard=1, or leave this out"
            problems.append(Problem(f"roles.{name}.placement", fault))
        if config.compiles(name):
            fault = f"compiled blocks stay on the device; set roles.{name}.compile=false, or leave this out"
            problems.append(Problem(f"roles.{name}.placement", fault))
    if problems:
        raise ConfigError(problems)


def refuse_compiled(run: ResolvedRun | Findings, device: torch.device, compute: torch.dtype, layout: Layout) -> None:
    """Raise ConfigError for roles whose blocks are to be compiled and cannot be."""
    asked = [name for name in run.config.roles if run.config.compiles(name)]
    problems = [
        Problem(_compile_key(run.config, name), fault) for name in asked for fault in _faults(run, name, layout)
    ]
    if asked and not problems and not is_weightless() and (fault := why_not_compiled(device, compute)) is not None:
        problems = [Problem(_compile_key(run.config, asked[0]), fault)]
    if problems:
        raise ConfigError(problems)


def refuse_kernels(run: ResolvedRun | Findings, device: torch.device, compute: torch.dtype) -> None:
    """Raise ConfigError for roles whose attention is to be computed by what is not to be had here."""
    problems = []
    for name, role in run.config.roles.items():
        family = checks.family_of(run.config, name)
        if role.attention is not None and family in run.models:
            fault = _kernel_fault(run, name, role.attention, run.models[family], device, compute)
            problems += [] if fault is None else [Problem(f"roles.{name}.attention", fault)]
    if problems:
        raise ConfigError(problems)


def _kernel_fault(
    run: ResolvedRun | Findings, name: str, kernel: str, model: ModelSpec, device: torch.device, compute: torch.dtype
) -> str | None:
    """Why a role's attention cannot be computed by a kernel; None if it can."""
    need = None if run.method is None else run.method.needs(run.demands).get(name)
    if not model.kernels:
        return f"model {model.name!r} has no choice of kernels; leave this out"
    if run.config.compiles(name):
        return f"kernels are chosen for blocks that are not compiled; set roles.{name}.compile=false, or leave this out"
    if need is not None and "along" in need.operations:
        return f"role {name!r} is asked for derivatives in forward mode, which torch's plain kernel alone has; leave this out"
    if is_weightless():  # this machine is not the one that will train
        return None
    try:
        with plugin_border():
            load_target(model.kernels, f"model {model.name!r}")().try_out(kernel, device, compute)
    except RefusedError as refusal:
        return f"attention by {kernel!r} does not run on this machine ({refusal.reason}); choose another, or leave this out"
    return None


def _compile_key(config: RunConfig, name: str) -> str:
    return "training.compile" if config.roles[name].compile is None else f"roles.{name}.compile"


def _faults(run: ResolvedRun | Findings, name: str, layout: Layout) -> Iterator[str]:
    """What a role has that compiled blocks have not."""
    need = None if run.method is None else run.method.needs(run.demands).get(name)
    if need is not None and "along" in need.operations:
        yield f"role {name!r} is asked for derivatives in forward mode, which compiled blocks do not have; set roles.{name}.compile=false"
    if layout.shard > 1:
        yield "weights in parts are not compiled; set distributed.shard=1, or leave this out"
    recomputed = recomputation_of(run.config, name)
    if recomputed is not None and recomputed.attention_kept:
        yield f"what attention gives is not to be had of a compiled block of role {name!r}; set roles.{name}.recompute to full or none"
