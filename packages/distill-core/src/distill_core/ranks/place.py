"""Which of a run's processes this one is, as torchrun, Slurm's srun, or our own launcher says in the environment. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distill_core.errors import ConfigError, Problem

SIZE = "WORLD_SIZE"
_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """One of the processes of a run.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number on its machine, which is the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place:
        """The place that the environment names; without WORLD_SIZE the only one. Raises ConfigError for half a description."""
        if environment.get(SIZE, "1") == "1":
            return cls()
        missing = [name for name in _NEEDED if name not in environment]
        if missing:
            raise _unclear(
                f"{SIZE} is {environment[SIZE]}, and {', '.join(missing)} is not set; start the processes with "
                f"`distill run RUN.yaml --nproc-per-node N` or torchrun, or unset {SIZE}"
            )
        try:
            rank, size, local_rank, _ = (int(environment[name]) for name in ("RANK", SIZE, "LOCAL_RANK", "MASTER_PORT"))
        except ValueError as error:
            raise _unclear(f"RANK, {SIZE}, LOCAL_RANK and MASTER_PORT are whole numbers; {error}") from error
        if not 0 <= rank < size:
            raise _unclear(f"RANK is {rank}, which is none of {size} processes")
        return cls(rank, size, local_rank)


ONLY = Place()
"""The only process of a run."""


def _unclear(message: str) -> ConfigError:
    return ConfigError([Problem("distributed", message)])
