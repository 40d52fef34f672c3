"""How the ranks of a run hold its models, replicas of so many ranks each, between which the weights are spread, and share its clips.

Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from distill_core.errors import ConfigError, Problem


@dataclass(frozen=True)
class Layout:
    """A mesh of ``replicate`` times ``shard`` ranks.

    Attributes:
        replicate: groups of ranks, each with all weights between them.
        shard: ranks of a group; 1 leaves every model whole on every rank.
        context: ranks, one after another, that share the tokens of each of their clips; 1 leaves every clip whole.
    """

    replicate: int = 1
    shard: int = 1
    context: int = 1

    @classmethod
    def of(cls, replicate: int | None, shard: int | None, ranks: int, context: int = 1) -> Layout:
        """The layout of so many ranks; what is None follows from the rest, and of two such all ranks shard. Raises ConfigError if the
        numbers do not come to that."""
        if ranks % context:
            said = f"{ranks} process{'es' * (ranks > 1)} cannot share clips by groups of {context}"
            message = f"{said}; start a multiple of {context} (--nproc-per-node), or set it to a divisor of {ranks}"
            raise ConfigError([Problem("distributed.context", message)])
        told = {"replicate": replicate, "shard": shard}
        if shard is None:
            shard = ranks // (1 if replicate is None else replicate)
        if replicate is None:
            replicate = ranks // shard
        if replicate * shard == ranks and shard:
            return cls(replicate, shard, context)
        given = {f"distributed.{name}": number for name, number in told.items() if number is not None}
        product = " × ".join(f"{name} {number}" for name, number in given.items())
        if len(given) == 1:
            remedy = f"start a multiple of {next(iter(given.values()))}, or set it to a divisor of {ranks}"
            raise ConfigError(
                [Problem(next(iter(given)), f"{product} does not divide the number of processes, {ranks}; {remedy}")]
            )
        remedy = f"leave one of the two out, or set it to a divisor of {ranks}"
        raise ConfigError([Problem("distributed", f"{product} is not the number of processes, {ranks}; {remedy}")])
