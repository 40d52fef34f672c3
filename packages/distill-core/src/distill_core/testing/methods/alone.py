"""Roles that step once their method says that they are done (`training.step_roles: alone`) end as those that wait for the step's end."""

from __future__ import annotations

import torch

from distill_core.testing.findings import Findings
from distill_core.testing.methods.bench import Bench


def check_alone(bench: Bench, findings: Findings) -> None:
    """Train the bench's steps in both ways, up to the first that ends otherwise."""
    alone, together = bench.run(step_roles="alone"), bench.run()
    for step in range(1, bench.steps + 1):
        alone.trainer.train_step(step)
        together.trainer.train_step(step)
        theirs = together.state.tensors()
        changed = [name for name, tensor in alone.state.tensors().items() if not torch.equal(tensor, theirs[name])]
        if changed:
            findings.fault(
                "done",
                f"step {step}: with training.step_roles=alone {len(changed)} tensors ({changed[0]}, ...) are others than without: a role "
                "that a loss names as `done` is used by that loss or a later one; make what is needed of it before, or leave `done` away",
            )
            return
