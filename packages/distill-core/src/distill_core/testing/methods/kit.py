"""The contract that every method keeps, as one call: :func:`check_method`. It trains toy models for a second or two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from distill_core.plugins.specs import MethodSpec, Options, RoleNeed
from distill_core.testing.findings import Findings
from distill_core.testing.methods.bench import Bench
from distill_core.testing.methods.cadence import check_cadence, check_keeps, check_validation
from distill_core.testing.methods.factories import check_factories
from distill_core.testing.methods.repetition import check_repetition
from distill_core.testing.methods.resume import check_resume
from distill_core.testing.methods.rows import check_rows
from distill_core.testing.methods.walk import walk

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


def check_method(spec: MethodSpec, options: Options, steps: int = 12, *, couples_rows: bool = False) -> MethodReport:
    """Try a method under ``options`` on toy models. Raises ContractError with every fault found, each with its remedy.

    It trains ``steps`` steps by the real trainer, stops and goes on after each, asks again, and asks with other batches; what the method
    does seldom (every hundredth step) is seen where ``options`` or ``steps`` let it happen. ``couples_rows``: the method means to compare
    the rows of a batch (a reward within its group), so that a batch is not the mean of its rows. The global random state is left alone.
    """
    findings = Findings(f"method {spec.name!r}")
    with torch.random.fork_rng(devices=[]):
        needs = spec.needs(spec.demands(options))
        due = _check(spec, options, steps, needs, findings, couples_rows=couples_rows)
        required = {name: need for name, need in needs.items() if not need.optional}
        if len(required) < len(needs) and not findings.faults:
            with TemporaryDirectory() as folder, findings.border("optional roles"):
                walk(Bench(spec, options, Path(folder), findings, required, steps), findings)
    findings.raise_faults()
    return MethodReport(due, findings.notes)


def _check(
    spec: MethodSpec,
    options: Options,
    steps: int,
    needs: Mapping[str, RoleNeed],
    findings: Findings,
    *,
    couples_rows: bool,
) -> Mapping[int, tuple[str, ...]]:
    """Every rule, as far as the method can be asked at all; returns who steps when."""
    due: Mapping[int, tuple[str, ...]] = {}
    with TemporaryDirectory() as folder, findings.border("refused"):
        bench = Bench(spec, options, Path(folder), findings, needs, steps)
        check_factories(bench, findings)
        if findings.faults:
            return due
        due = check_cadence(bench, findings)
        walked = walk(bench, findings)
        check_validation(bench, findings)
        if walked is None:
            return due
        check_keeps(bench, findings)
        late, closely = walked.snapshot(), _representatives(due)
        check_repetition(bench, late, closely, findings)
        if not findings.faults:
            check_rows(bench, late, closely, findings, couples_rows=couples_rows)
        check_resume(bench, findings)
    return due


def _representatives(due: Mapping[int, tuple[str, ...]]) -> list[int]:
    """A few steps of each set of roles that step together."""
    of_set: dict[tuple[str, ...], list[int]] = {}
    for step, names in due.items():
        of_set.setdefault(names, []).append(step)
    return sorted(step for steps in of_set.values() for step in steps[:CLOSELY])
