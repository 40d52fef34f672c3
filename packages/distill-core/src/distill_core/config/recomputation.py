"""Which activations a role computes again in backward, as its run.yaml says."""

from __future__ import annotations

from dataclasses import dataclass

from distill_core.config.schema import RunConfig


@dataclass(frozen=True)
class Recomputation:
    """Blocks of a role's predictions that keep their inputs and compute the rest again.

    Attributes:
        attention_kept: whether what attention gives is kept all the same, the costliest part of a block to compute again.
        every: of so many blocks one after another the first is recomputed; 1 recomputes all.
    """

    attention_kept: bool = False
    every: int = 1


def recomputation_of(config: RunConfig, role: str) -> Recomputation | None:
    """That of a role: its own where it says one, the run's otherwise; None keeps all activations."""
    training, own = config.training, config.roles[role]
    kind = training.enable_gradient_checkpointing_type if own.recompute is None else own.recompute
    if kind is None or kind == "none":
        return None
    every = training.recompute_every if own.recompute_every is None else own.recompute_every
    return Recomputation(kind == "selective", every)
