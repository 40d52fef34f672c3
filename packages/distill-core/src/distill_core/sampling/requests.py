"""Whether a role can be sampled as a request says. Pure; names of operations are data here."""

from __future__ import annotations

from distill_core.plugins.specs import ModelSpec
from distill_core.protocols.validator import ValidationRequest


def misfit(request: ValidationRequest, model: ModelSpec, operations: frozenset[str]) -> str | None:
    """Why a role of this family, loaded for these operations, cannot be sampled so, or None if it can."""
    asked = ", ".join(sorted(request.parts - model.operations))
    if asked:
        return f"it asks {asked} of role {request.role!r}, which model {model.name!r} does not offer; see `distill plugins matrix`"
    asked = ", ".join(sorted(request.parts - operations))
    if asked:
        return f"it asks {asked} of role {request.role!r}, which is loaded without; add it to the role's operations in the method's spec"
    asked = ", ".join(sorted(request.parts & model.dense_only))
    if asked and request.attn_kind != "dense":
        return (
            f"model {model.name!r} has no {asked} under {request.attn_kind!r} attention; sample with attn_kind: dense"
        )
    counts = {"blocks": request.blocks, "window": request.window}
    wrong = [name for name, count in counts.items() if count is not None and count < 1]
    if wrong or request.sink < 0:
        return f"{wrong[0] if wrong else 'sink'} counts latent frames, and is less than {1 if wrong else 0}"
    if request.blocks is None and (request.window is not None or request.sink):
        return "window and sink are what a stream of blocks keeps, and it samples by no blocks; set blocks too"
    return None
