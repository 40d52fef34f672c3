"""The part of the work that one of several processes does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from distill_core.errors import DataError

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Shard:
    """Number ``number`` of ``count`` processes, from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "I/N". Raises DataError for anything else."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        number, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= number <= count:
            raise DataError(f"--shard {text} is not of the form I/N with 1 ≤ I ≤ N, e.g. 1/4")
        return cls(number, count)

    @classmethod
    def of_process(cls, environment: Mapping[str, str]) -> Shard:
        """That of a process that torchrun has started, or else the whole."""
        if not {"RANK", "WORLD_SIZE"} <= environment.keys():
            return cls()
        return cls(int(environment["RANK"]) + 1, int(environment["WORLD_SIZE"]))

    @property
    def suffix(self) -> str:
        """For names of files: "" for the whole."""
        return "" if self.count == 1 else f"-{self.number}-of-{self.count}"

    def siblings(self) -> tuple[Shard, ...]:
        """All shards of the work."""
        return tuple(Shard(number, self.count) for number in range(1, self.count + 1))

    def part(self, items: Sequence[ItemT]) -> Sequence[ItemT]:
        """Every ``count``-th item."""
        return items[self.number - 1 :: self.count]
