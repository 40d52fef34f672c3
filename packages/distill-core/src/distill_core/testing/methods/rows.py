"""Rules that are seen by other batches: an order, a size and a neighbour make no difference to a sample."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from distill_core.testing.findings import Findings
from distill_core.testing.methods.asks import ROWS, Answer, ask, mean_of
from distill_core.testing.methods.bench import Bench, Snapshot

TURNED = (2, 0, 1)


def check_rows(bench: Bench, at: Snapshot, steps: Sequence[int], findings: Findings, *, couples_rows: bool) -> None:
    """Rows in another order, one row alone, the same row twice, and rows in micro-batches of one."""
    run = bench.run()
    for step in steps:
        whole = ask(run, at, step, ROWS)
        _expect_any_order(step, whole, ask(run, at, step, TURNED), findings)
        with findings.border("batch of one"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, of a deviation of one number: the fault is told below
                alone = [ask(run, at, step, (row,)) for row in ROWS]
            if not _expect_finite(step, alone, findings):
                continue
            _expect_a_mean(step, alone[0], ask(run, at, step, (ROWS[0], ROWS[0])), findings)
            if not couples_rows:
                _expect_micro_batches(step, whole, alone, findings)


def _expect_any_order(step: int, whole: Answer, turned: Answer, findings: Findings) -> None:
    findings.expect(
        whole.close(turned),
        "order of rows",
        f"step {step}: with its rows in another order the losses are {turned.figures()} instead of {whole.figures()}, or their "
        "gradients differ; something is drawn or chosen by the place in the batch: draw it by the row, or by draw.shared_index",
    )


def _expect_finite(step: int, alone: Sequence[Answer], findings: Findings) -> bool:
    broken = [each for each in alone if not (each.losses.isfinite().all() and each.gradients.isfinite().all())]
    if broken:
        findings.fault(
            "batch of one",
            f"step {step}: of a batch of one the losses are {broken[0].figures()}, or their gradients are not finite; a deviation or a "
            "correlation over the batch has no value there: take it over a sample, or keep running statistics in a role's buffers",
        )
    return not broken


def _expect_a_mean(step: int, once: Answer, twice: Answer, findings: Findings) -> None:
    findings.expect(
        once.close(twice),
        "mean over the batch",
        f"step {step}: of one row twice the losses are {twice.figures()}, of the row once {once.figures()}, or their gradients "
        "differ; a loss is a mean over the batch, else its learning rate means something else at each batch size",
    )


def _expect_micro_batches(step: int, whole: Answer, alone: Sequence[Answer], findings: Findings) -> None:
    accumulated = mean_of(alone)
    findings.expect(
        whole.close(accumulated),
        "micro-batches",
        f"step {step}: of a batch the losses are {whole.figures()}, of its rows one by one {accumulated.figures()} in the mean, or "
        "their gradients differ; gradient accumulation would train something else. Normalise within a sample; or, where the method "
        "means to compare rows, say check_method(..., couples_rows=True)",
    )
    apart = whole.logged_apart(accumulated)
    findings.expect(
        not apart,
        "logged figures",
        f"step {step}: {', '.join(apart)} of a batch is not the mean of {'those' if len(apart) > 1 else 'that'} of its rows; over several "
        "processes, and under accumulation, means of means are logged: take the figure of each sample, and the mean over the batch last",
    )
