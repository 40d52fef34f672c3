"""The first steps of a run, looked at closely: who gets gradients, what is alive, what is changed that no checkpoint holds."""

from __future__ import annotations

import torch

from distill_core.errors import DataError, DistillError, MethodError
from distill_core.testing.findings import Findings
from distill_core.testing.methods.bench import Bench, ToyRun
from distill_core.testing.methods.graphs import GraphLedger

NO_HOOKS = "saved tensor hooks"
"""What torch.func says where its transforms meet such hooks."""


def walk(bench: Bench, findings: Findings) -> ToyRun | None:
    """Train the bench's steps. Returns the run at its end, or None if the trainer would have refused the method on the way."""
    run = bench.run()
    run.method.ledger = GraphLedger()
    before = {name: tensor.clone() for name, tensor in run.unsaved().items()}
    try:
        for step in range(1, bench.steps + 1):
            _step(run, step)
            _check_graphs(run, step, findings)
            _check_unsaved(run, before, step, findings)
    except DataError as error:
        findings.fault("demands", _of_data(bench, error))
        return None
    except DistillError as error:
        findings.fault("refused", str(error))
        return None
    for name in run.method.trained:
        stepped = any(name in run.method.roles_to_step(step) for step in range(1, bench.steps + 1))
        findings.expect(
            name in run.method.reached or not stepped,
            "gradients",
            f"all gradients to {name!r} are zero in the first {bench.steps} steps; a loss that is constant in its weights trains nothing",
        )
    return run


def _of_data(bench: Bench, error: DataError) -> str:
    if bench.demands.latents:
        return str(error)
    return "its demands say latents=False under these options, and it reads batch.latents; say Demands(latents=True), or make do without"


def _step(run: ToyRun, step: int) -> None:
    """One step of the trainer's, its graphs written down; without, for a method whose torch.func transforms bear no hooks."""
    ledger = run.method.ledger
    if ledger is None:
        run.trainer.train_step(step)
        return
    snapshot = run.snapshot()
    try:
        with ledger.watching():
            run.trainer.train_step(step)
    except MethodError as error:
        if NO_HOOKS not in str(error):
            raise
        run.method.ledger = None
        run.bench.findings.note(
            "torch.func refuses the hooks by which the kit sees which graphs are alive; that is not checked"
        )
        run.load(snapshot)
        for role in run.roles.values():
            role.container.zero_grad(set_to_none=True)
        run.trainer.train_step(step)


def _check_graphs(run: ToyRun, step: int, findings: Findings) -> None:
    ledger = run.method.ledger
    if ledger is None:
        return
    if ledger.together is not None:
        first, later = ledger.together
        findings.fault(
            "one graph",
            f"step {step}: the graph of loss {later} was begun before loss {first} was yielded, so both are alive at once, at twice the "
            "memory; yield each loss before the next one's predictions are made",
        )
        run.method.ledger = None
    elif outliving := ledger.outliving():
        findings.fault(
            "one graph",
            f"step {step}: {outliving} activations are alive after its last loss; what the method keeps of a prediction it keeps with its "
            "whole graph: keep .detach()ed numbers, and those in a role's buffers",
        )
        run.method.ledger = None


def _check_unsaved(run: ToyRun, before: dict[str, torch.Tensor], step: int, findings: Findings) -> None:
    changed = [name for name, tensor in run.unsaved().items() if not torch.equal(tensor, before[name])]
    findings.expect(
        not changed,
        "unsaved weights",
        f"step {step}: the method changed {', '.join(changed[:2])}, which no checkpoint holds; what moves is a role with "
        "RoleNeed(trainable=False, follows=...), or a persistent buffer of one with RoleNeed(module=...)",
    )
