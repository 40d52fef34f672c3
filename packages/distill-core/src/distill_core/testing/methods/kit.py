"""The contract that every method keeps, as one call: :func:`check_method`. It trains toy models for a second or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import torch

from distill_core.plugins.answers import demands_of
from distill_core.plugins.specs import MethodSpec, Options, RoleNeed
from distill_core.testing.findings import Findings
from distill_core.testing.methods.alone import check_alone
from distill_core.testing.methods.bench import Bench
from distill_core.testing.methods.cadence import check_cadence, check_keeps, check_validation
from distill_core.testing.methods.factories import check_factories
from distill_core.testing.methods.making import check_making
from distill_core.testing.methods.repetition import check_repetition
from distill_core.testing.methods.resume import check_resume
from distill_core.testing.methods.rows import check_rows
from distill_core.testing.methods.walk import walk
from distill_core.testing.toy_parts import LATENT_SHAPE

NO_EXTENSIONS: Mapping[str, Callable[..., object]] = MappingProxyType({})
CLOSELY = 4
"""Of each set of roles that step together, so many steps are asked about rows and repetition."""


@dataclass(frozen=True)
class MethodReport:
    """What the kit saw of a method that keeps its contract.

    Attributes:
        steps: the roles that stepped at the end of each step, from 1.
        notes: what is no fault and yet worth knowing, e.g. a loss that would reach another role if the trainer let it.
    """

    steps: Mapping[int, tuple[str, ...]]
    notes: tuple[str, ...]


def check_method(
    spec: MethodSpec,
    options: Options,
    steps: int = 12,
    *,
    couples_rows: bool = False,
    extensions: Mapping[str, Callable[..., object]] = NO_EXTENSIONS,
) -> MethodReport:
    """Try a method under ``options`` on toy models. Raises ContractError with every fault found, each with its remedy.

    It trains ``steps`` steps by the real trainer, stops and goes on after each, asks again, and asks with other batches; what the method
    does seldom (every hundredth step) is seen where ``options`` or ``steps`` let it happen. ``couples_rows``: the method means to compare
    the rows of a batch (a reward within its group), so that a batch is not the mean of its rows. ``extensions``: stand-ins for the
    operations of a family's own (a name with a dot) that the method asks for. The global random state is left alone.
    """
    findings = Findings(f"method {spec.name!r}")
    needs: Mapping[str, RoleNeed] = {}
    with findings.border("demands"):
        needs = spec.needs(demands_of(spec, options))
    findings.raise_faults()
    required = {name: need for name, need in needs.items() if not need.optional}
    due: Mapping[int, tuple[str, ...]] = {}
    with torch.random.fork_rng(devices=[]), TemporaryDirectory() as folder:
        with findings.border("refused"):
            bench = Bench(spec, options, Path(folder), findings, needs, steps, extensions)
            due = _check(bench, couples_rows)
            check_making(bench, findings)
        if len(required) < len(needs) and not findings.faults:
            left_out = ", ".join(sorted(set(needs) - set(required)))
            with findings.border("optional roles", f"in a run without {left_out}, which the spec says is optional, "):
                walk(Bench(spec, options, Path(folder), findings, required, steps, extensions), findings)
    findings.raise_faults()
    return MethodReport(due, findings.notes)


def _check(bench: Bench, couples_rows: bool) -> Mapping[int, tuple[str, ...]]:
    """Every rule, as far as the method can be asked at all; returns who steps when."""
    findings = bench.findings
    frames, least, whole = LATENT_SHAPE[0], bench.demands.least_frames, bench.demands.frames_of
    findings.expect(
        least <= frames and frames % whole == 0,
        "demands",
        f"its demands say least_frames={least} and frames_of={whole} under these options, and the kit's clips have {frames} latent "
        "frames; check with options that these fit",
    )
    check_factories(bench, findings)
    if findings.faults:
        return {}
    due = check_cadence(bench, findings)
    walked = walk(bench, findings)
    with findings.border("validation"):
        check_validation(bench, findings)
    if walked is None:
        return due
    check_keeps(bench, findings)
    late, closely = walked.snapshot(), _representatives(due)
    check_repetition(bench, late, closely, findings)
    if not findings.faults and not bench.demands.by_place:
        check_rows(bench, late, closely, findings, couples_rows=couples_rows)
    check_resume(bench, findings)
    if walked.method.said_done:
        check_alone(bench, findings)
    return due


def _representatives(due: Mapping[int, tuple[str, ...]]) -> list[int]:
    """A few steps of each set of roles that step together."""
    of_set: dict[tuple[str, ...], list[int]] = {}
    for step, names in due.items():
        of_set.setdefault(names, []).append(step)
    return sorted(step for steps in of_set.values() for step in steps[:CLOSELY])
