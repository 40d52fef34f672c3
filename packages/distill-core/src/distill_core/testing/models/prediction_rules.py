"""Rules for the plain prediction: its dtype and shape, no graph through a frozen role, and no sample that depends on its neighbours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distill_core.errors import DistillError
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.protocols.adapter import OPERATIONS, PARTS, PICTURES, Adapter, Extends, ShiftsFlow
from distill_core.protocols.prediction import Ask, Tangents
from distill_core.testing.models.subject import Subject, Tried


def check_predictions(subject: Subject, tried: Tried) -> None:
    """What every method stands on."""
    with tried.rule("predict"):
        _check_plain(subject, tried)
    with tried.rule("batches"):
        for row in range(2):
            alone = subject.predicted(row=row).velocity[0]
            what = "a sample alone and in a batch; nothing of a neighbour (its padding, its timestep) may reach it"
            tried.expect_close("batches", what, alone, subject.velocity[row], subject.close)
    with tried.rule("frozen"):
        seen = subject.noisy.clone().requires_grad_()
        condition = subject.batch.condition_of(subject.role)
        velocity = subject.role.predict_velocity(seen, subject.timestep, condition, input_gradients=True)
        (gradient,) = torch.autograd.grad(velocity.square().mean(), seen)
        tried.expect(
            bool(gradient.isfinite().all()) and bool(gradient.any()),
            "frozen",
            "a frozen role gives no gradient to its input where it is asked for; make no torch.no_grad of the adapter's own",
        )


def _check_plain(subject: Subject, tried: Tried) -> None:
    rule, noisy, velocity = "predict", subject.noisy, subject.velocity
    tried.expect(
        velocity.dtype == torch.float32 and velocity.shape == noisy.shape,
        rule,
        f"a velocity is {velocity.dtype} {list(velocity.shape)}; give float32 of the latents' shape {list(noisy.shape)}",
    )
    tried.expect(bool(velocity.isfinite().all()), rule, "a velocity is not finite")
    tried.expect(
        torch.equal(subject.predicted().velocity, velocity),
        rule,
        "asked twice, predictions differ; put dropout to rest in eval mode",
    )
    condition = subject.batch.condition_of(subject.role)
    given = (3.0 * noisy + 0.1, subject.timestep.clone())
    subject.role.predict_velocity(*given, condition)
    tried.expect(
        torch.equal(given[0], 3.0 * noisy + 0.1) and torch.equal(given[1], subject.timestep),
        rule,
        "a prediction writes into its inputs; clone before working in place",
    )
    other = subject.role.predict_velocity(noisy, subject.timestep / 2.0, condition)
    tried.expect(not torch.equal(other, velocity), rule, "a prediction is the same at every timestep")


def check_declared(subject: Subject, tried: Tried) -> None:
    """The spec and the adapter say the same: what is declared is there, and what is not is refused and not passed over."""
    adapter, offered = subject.model.adapter, subject.spec.operations
    with tried.rule("declared operations"):
        for name in sorted(offered - set(PARTS) - {"predict"}):
            kind = Extends if "." in name else OPERATIONS.get(name)
            if kind is None:
                tried.findings.fault(
                    "declared operations",
                    f"the spec declares {name!r}, which the core does not know; an own one has a dot",
                )
            else:
                tried.expect(
                    isinstance(adapter, kind),
                    "declared operations",
                    f"the spec declares {name!r}, and the adapter has none of {kind.__name__}; write it, or leave it out of the spec",
                )
        for name, kind in OPERATIONS.items():
            if kind is not Adapter and name not in {*offered, *PICTURES} and isinstance(adapter, kind):
                tried.findings.note(
                    f"the adapter has {name!r}, and the spec does not declare it, so no method may ask for it"
                )
    with tried.rule("undeclared parts"):
        answered = [
            fault
            for name in sorted(set(PARTS) - (offered - subject.facts.lacks))
            if (fault := _answered(subject, *_part(subject, name)))
        ]
        tried.expect(
            not answered,
            "undeclared parts",
            f"the spec does not declare them, and asked for {'; '.join(answered)}. Begin predict with "
            "distill_core.protocols.adapter.refuse_undeclared: an answer that passes over what was asked is silently another one",
        )
    with tried.rule("attention"):
        for attention in subject.spec.attention:
            velocity = subject.predicted(Ask(attention, sparsity=0.0)).velocity
            tried.expect(
                bool(velocity.isfinite().all()),
                "attention",
                f"under {attention!r} attention, which is declared, predictions are not finite",
            )
        unheard = _answered(subject, "'unheard-of' attention", Ask("unheard-of"), subject.timestep)
        tried.expect(
            unheard is None,
            "attention",
            f"asked for {unheard}; raise a DistillError for a kind of attention that it has not",
        )
    with tried.rule("flow_shift"):
        if isinstance(adapter, ShiftsFlow):
            shift = adapter.flow_shift(subject.shape)
            tried.expect(math.isfinite(shift) and shift > 0.0, "flow_shift", f"the shift is {shift}; it is above 0")


def _part(subject: Subject, name: str) -> tuple[str, Ask, Tensor]:
    """A question for a part, and for it alone: what it is called, the ask, the timestep."""
    frames = subject.shape[0]
    asks: dict[str, Ask] = {
        "until": Ask(until=subject.timestep / 2.0),
        "along": Ask(along=Tangents(subject.noisy, torch.ones_like(subject.timestep))),
        "features": Ask(features=(0,)),
        "blocks": Ask(blocks=1),
        "clean": Ask(clean=subject.batch.latents),
        "stream": Ask(store=True),
    }
    if name == "frame_timesteps":
        return name, Ask(), subject.timestep[:, None].expand(-1, frames)
    return name, asks[name], subject.timestep


def _answered(subject: Subject, what: str, ask: Ask, timestep: Tensor) -> str | None:
    """What happens to a question that should be refused, or None if it is refused as errors of people are."""
    try:
        with plugin_border():
            subject.role.predict(subject.noisy, timestep, subject.batch.condition_of(subject.role), ask)
    except RefusedError as refusal:
        return None if isinstance(refusal.__cause__, DistillError) else f"{what} it raises {refusal.reason}"
    return f"{what} it answers all the same"
