"""Rules that are seen by asking again: the same question has the same answer, whatever the method was asked before."""

from __future__ import annotations

from collections.abc import Sequence

from distill_core.testing.findings import Findings
from distill_core.testing.methods.asks import ROWS, ask
from distill_core.testing.methods.bench import Bench, Snapshot


def check_repetition(bench: Bench, at: Snapshot, steps: Sequence[int], findings: Findings) -> None:
    """Two methods that know nothing answer alike, else something is drawn past `draw`; one that is asked again too, else it remembers."""
    run, other = bench.run(), bench.run()
    for step in steps:
        first, second = ask(run, at, step, ROWS), ask(other, at, step, ROWS)
        if not first.same(second):
            findings.fault(
                "unkeyed randomness",
                f"step {step}: two runs in the same state make other losses ({first.figures()}; {second.figures()}); something is drawn "
                "past `draw`, by a generator, a clock or a hash: ask `draw` for it by name",
            )
            return
        again = ask(run, at, step, ROWS)
        findings.expect(
            first.same(again),
            "memory",
            f"step {step}: asked again in the same state, the losses are {again.figures()} instead of {first.figures()}; the method "
            "remembers something: a counter follows from draw.step, anything else is a buffer of a role with RoleNeed(module=...)",
        )
