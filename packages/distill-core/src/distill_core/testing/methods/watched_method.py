"""A method whose losses are looked at between the trainer's turns: what they reach, what they draw, what they write into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from distill_core.protocols.batch import Batch
from distill_core.protocols.draw import Draw
from distill_core.protocols.method import Method, StagedLoss
from distill_core.testing.findings import Findings
from distill_core.testing.methods.graphs import GraphLedger
from distill_core.testing.streams import random_streams
from distill_core.training.asking import AskedMethod
from distill_core.training.roles import RoleHandle


class WatchedMethod(AskedMethod):
    """The method as the trainer asks it; what the trainer would let pass is a fault in ``findings``.

    Attributes:
        ledger: which graphs were alive when; None where nobody looks.
        reached: the trained roles that got a gradient which is not zero from a loss that names them.
        said_done: whether any loss so far named a role as done that was due.
    """

    def __init__(self, method: Method, name: str, roles: Mapping[str, RoleHandle], findings: Findings) -> None:
        super().__init__(method, name, roles)
        self.findings = findings
        self.ledger: GraphLedger | None = None
        self.reached: set[str] = set()
        self.said_done = False

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The losses of one micro-step, each looked at before the trainer's backward."""
        latents = None if batch.clean_latents is None else batch.clean_latents.clone()
        staged, streams = super().losses(batch, draw), random_streams()
        while True:
            if self.ledger is not None:
                self.ledger.next_loss()
            loss = next(staged, None)
            moved = [name for name, state in random_streams().items() if state != streams[name]]
            if moved:
                self.findings.fault(
                    "global randomness",
                    f"step {draw.step}: making the losses draws from {' and '.join(moved)}; ask `draw`, whose numbers follow from a key: "
                    "then a resumed run, and another number of ranks, draw the same",
                )
                streams = random_streams()
            if loss is None:
                break
            self._look_at(loss, draw.step)
            yield loss
        if latents is not None and not torch.equal(latents, batch.latents):
            self.findings.fault(
                "data", f"step {draw.step}: the losses write into batch.latents; clone them before working in place"
            )

    def _look_at(self, loss: StagedLoss, step: int) -> None:
        self.findings.expect(
            bool(loss.value.detach().isfinite().all()),
            "finite losses",
            f"step {step}: {loss.name!r} is {float(loss.value.detach())} on plain normal latents; look for a division or a logarithm of 0",
        )
        self.said_done = self.said_done or bool(self._done(loss))
        for name, value in loss.metrics.items():
            self._look_at_metric(f"step {step}: the metric {name!r} of {loss.name!r}", value)
        self._look_at_gradients(loss, step)

    def _done(self, loss: StagedLoss) -> set[str]:
        """The roles that may step before the loss."""
        return {name for name in loss.done if self.roles[name].done}

    def _look_at_metric(self, what: str, value: object) -> None:
        if not isinstance(value, Tensor):
            fault = (
                f"{what} is a {type(value).__name__}; give a tensor on the device, .item() waits for it at every step"
            )
        elif value.numel() != 1:
            fault = f"{what} is no scalar but {list(value.shape)}; give its mean"
        elif value.requires_grad:
            fault = f"{what} has a graph, which lives as long as the metric; give value.detach()"
        else:
            return
        self.findings.fault("metrics", fault)

    def _look_at_gradients(self, loss: StagedLoss, step: int) -> None:
        """Whom the loss reaches: those that it names must be among them, and others are kept out by the trainer."""
        owners = [(name, p) for name in self.trained for p in self.roles[name].trained_parameters().values()]
        gradients = torch.autograd.grad(
            loss.value, [parameter for _, parameter in owners], retain_graph=True, allow_unused=True
        )
        found: dict[str, list[Tensor]] = {}
        for (name, _), gradient in zip(owners, gradients, strict=True):
            if gradient is not None:
                found.setdefault(name, []).append(gradient)
        for name in loss.roles:
            self.findings.expect(
                name in found,
                "gradients",
                f"step {step}: {loss.name!r} trains {name!r}, and no weight of {name!r} is in its graph; make it of what {name!r} "
                "predicts, with nothing detached on the way, or name the role that it is of",
            )
            self.findings.expect(
                all(bool(gradient.isfinite().all()) for gradient in found.get(name, [])),
                "gradients",
                f"step {step}: the gradient of {loss.name!r} to {name!r} is not finite; a square root or a norm at 0 has none",
            )
            if any(gradient.any() for gradient in found.get(name, [])):
                self.reached.add(name)
        done = self._done(loss)
        for name in sorted(set(found) & done):
            self.findings.fault(
                "gradients",
                f"step {step}: {loss.name!r} has {name!r} as done, and its backward pass goes through {name!r}, whose weights may have "
                "moved; make what it is of under torch.no_grad() or .detach() it",
            )
        for name in sorted(set(found) - set(loss.roles) - done):
            self.findings.note(
                f"{loss.name!r} of {', '.join(loss.roles)} would reach {name!r} too: the trainer keeps that out. If {name!r} should learn "
                f"from it, name both; if not, torch.no_grad() or .detach() spares its graph"
            )
