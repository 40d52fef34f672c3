"""Rules for modules of a method's own: first weights that follow from the run's seed, something to train, and nothing touched outside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_core.testing.findings import Findings
from distill_core.testing.methods.bench import SEED, Bench
from distill_core.testing.streams import random_streams

RULE = "own module"


def check_factories(bench: Bench, findings: Findings) -> None:
    """Every role with ``RoleNeed.module``."""
    for name, need in bench.needs.items():
        if need.module is not None:
            with findings.border(RULE):
                _check_factory(bench, name, f"role {name!r}: {need.module}", findings)


def _check_factory(bench: Bench, name: str, what: str, findings: Findings) -> None:
    streams = random_streams()
    module: object = bench.own_module(name)
    moved = [stream for stream, state in random_streams().items() if state != streams[stream]]
    findings.expect(
        not moved, RULE, f"{what} draws from {' and '.join(moved)}, which no seed of the run reaches; use torch.nn.init"
    )
    if not isinstance(module, nn.Module):
        findings.fault(RULE, f"{what} makes a {type(module).__name__}; return a torch.nn.Module")
        return
    first, again = _weights(module), _weights(bench.own_module(name))
    findings.expect(
        _same(first, again),
        RULE,
        f"{what} makes other weights for the same seed; draw them by torch's global functions (torch.nn.init, a layer's own), which the "
        "core seeds with a key, not by a generator, a clock or uninitialised memory",
    )
    findings.expect(
        bench.stream_after(name, SEED) != bench.stream_after(name, SEED + 1),
        RULE,
        f"{what} seeds torch itself, so every run begins with the same weights; leave torch.manual_seed out",
    )
    need = bench.needs[name]
    findings.expect(
        not need.trainable or any(True for _ in module.parameters()),
        RULE,
        f"{what} has no parameters and its role is trainable; say RoleNeed(trainable=False, module=...): its buffers are saved too",
    )
    findings.expect(
        all(bool(tensor.isfinite().all()) for tensor in first.values()),
        RULE,
        f"{what} makes weights that are not finite",
    )


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
