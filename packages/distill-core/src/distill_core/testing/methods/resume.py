"""The rule that costs the most when it is broken: a run that goes on from what a checkpoint holds is the run that never stopped."""

from __future__ import annotations

import torch

from distill_core.testing.findings import Findings
from distill_core.testing.methods.bench import Bench, Snapshot, ToyRun

ADVICE = (
    "what a method must remember lives in roles: an averaged target or an old policy is a role with RoleNeed(follows=...), a statistic a "
    "persistent buffer of one with RoleNeed(module=...), a counter follows from the step"
)


def check_resume(bench: Bench, findings: Findings) -> None:
    """Stop after every step and go one step on; and to the end from the middle, and from a late step."""
    whole = bench.run(accumulation=2)
    states = [whole.snapshot()]
    for step in range(1, bench.steps + 1):
        whole.trainer.train_step(step)
        states.append(whole.snapshot())
    far = {bench.steps // 2, max(1, bench.steps - 2)}
    for stopped in range(1, bench.steps):
        last = bench.steps if stopped in far else stopped + 1
        if not _goes_on(bench, states, stopped, last, findings):
            return


def _goes_on(bench: Bench, states: list[Snapshot], stopped: int, last: int, findings: Findings) -> bool:
    resumed = bench.run(accumulation=2)
    resumed.load(states[stopped])
    for step in range(stopped + 1, last + 1):
        resumed.trainer.train_step(step)
        changed = _differing(resumed, states[step])
        if changed:
            findings.fault(
                "resume",
                f"stopped after step {stopped} and gone on from its checkpoint, {len(changed)} tensors ({changed[0]}, ...) are others "
                f"after step {step} than in the run that never stopped: the method keeps something that no checkpoint holds; {ADVICE}",
            )
            return False
    return True


def _differing(run: ToyRun, state: Snapshot) -> list[str]:
    """The names of tensors that are not bitwise what they are in a state."""
    return [name for name, tensor in run.state.tensors().items() if not torch.equal(tensor, state.tensors[name])]
