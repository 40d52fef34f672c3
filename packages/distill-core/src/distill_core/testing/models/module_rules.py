"""Rules for loading a role: its dtype, its mode, weights of its own, and the same gradients when activations are made anew."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core.testing.models.subject import Subject, Tried
from distill_core.training.roles import RoleHandle


def check_modules(subject: Subject, tried: Tried) -> None:
    """Frozen and trained roles of the folder."""
    with tried.rule("load_modules"):
        _check_loading(subject, tried)
    with tried.rule("gradients"):
        _check_gradients(subject, tried)
    with tried.rule("bfloat16"):
        _check_bfloat16(subject, tried)


def _check_loading(subject: Subject, tried: Tried) -> None:
    rule = "load_modules"
    # Past the role, which would set both itself: a family must hand over what it was asked for.
    one, other = (dict(subject.loaded(subject.model, subject.facts).container.named_parameters()) for _ in range(2))
    tried.expect(bool(one), rule, "a role has no parameters")
    tried.expect(
        all(torch.equal(one[name], other[name]) for name in one),
        rule,
        "one folder is loaded to other weights the second time; what the folder does not hold begins at fixed numbers",
    )
    tried.expect(
        not {p.data_ptr() for p in one.values() if p.numel()} & {p.data_ptr() for p in other.values() if p.numel()},
        rule,
        "two roles of one folder share weights: training one would move the other; load a copy for each",
    )
    wide = sorted(name for name, p in one.items() if p.dtype != torch.float32)
    tried.expect(
        not wide, rule, f"asked for weights in float32, {', '.join(wide[:2])} are not; honour request.weights_dtype"
    )


def _check_gradients(subject: Subject, tried: Tried) -> None:
    plain = subject.loaded(subject.model, subject.facts, trainable=True)
    thrifty = subject.loaded(subject.model, subject.facts, trainable=True, checkpointing=True)
    mine, theirs = _gradients(subject, plain), _gradients(subject, thrifty)
    tried.expect(
        bool(mine) and all(bool(g.isfinite().all()) for g in mine.values()), "gradients", "gradients are not finite"
    )
    remedy = "what one call tells its layers is put back for the second run, and weights keep their names"
    tried.expect(
        mine.keys() == theirs.keys(), "gradients", f"with gradient checkpointing other weights get gradients; {remedy}"
    )
    for name in mine.keys() & theirs.keys():
        scale = mine[name].abs().max().clamp_min(1e-12)
        what = f"the gradient of {name} with gradient checkpointing and without; {remedy}"
        tried.expect_close("gradients", what, theirs[name] / scale, mine[name] / scale, 10.0 * subject.close)
    idle = sorted(set(plain.trained_parameters()) - mine.keys())
    if idle:
        tried.findings.note(
            f"{len(idle)} trained weights get no gradient from a plain prediction: {', '.join(idle[:2])}"
        )


def _gradients(subject: Subject, role: RoleHandle) -> dict[str, Tensor]:
    subject.predicted(role=role).velocity.square().mean().backward()
    return {name: p.grad for name, p in role.trained_parameters().items() if p.grad is not None}


def _check_bfloat16(subject: Subject, tried: Tried) -> None:
    model = subject.built(subject.facts, torch.bfloat16)
    for trainable, dtype in ((False, torch.bfloat16), (True, torch.float32)):
        role = subject.loaded(model, subject.facts, trainable=trainable, dtype=dtype)
        velocity = subject.predicted(role=role).velocity.detach()
        gap = float((velocity - subject.velocity).norm() / subject.velocity.norm())
        tried.expect(
            velocity.dtype == torch.float32 and gap < 0.1,
            "bfloat16",
            f"with weights in {dtype} and a forward pass in bfloat16 a velocity is {velocity.dtype}, {100 * gap:.0f} % off; give float32, "
            "and keep timesteps and their embedding out of autocast",
        )
