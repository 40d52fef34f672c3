"""Runs of several processes, forked: no import is paid twice."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch._dynamo
from tests.core.conftest import ToyWorld
from tests.core.forked import Ended, begun, ending, toy_run

import distill_method_dmd2.method
import distill_method_finetune.method
from distill_core.config.document import write_yaml
from distill_core.ranks import joined

IMPORTED = (torch._dynamo, joined, distill_method_dmd2.method, distill_method_finetune.method)
"""What each process would import anew."""


@dataclass
class Launched:
    """Processes that run, by rank, and where they write."""

    children: list[int]
    logs: list[Path]

    def ended(self) -> list[Ended]:
        """How each ends."""
        return [ending(child, log) for child, log in zip(self.children, self.logs, strict=True)]


def launched(size: int, work: Callable[[int], None], folder: Path, **environment: str) -> Launched:
    """``work``, given its rank, in ``size`` processes, whose environment is as a launcher makes it, with more of it, or other."""
    port = free_port()  # the first rank holds the store: a thread of it here would be forked, and leave its locks held
    logs = [folder / f"rank{rank}.log" for rank in range(size)]

    def as_rank(rank: int) -> None:
        """One of them."""
        named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in named.items()})
        os.environ.update({"MASTER_ADDR": "127.0.0.1", **environment})
        work(rank)

    return Launched([begun(lambda rank=rank: as_rank(rank), logs[rank]) for rank in range(size)], logs)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def distill(world: ToyWorld, mapping: dict[str, Any], *more: str) -> Callable[[int], None]:
    """``distill run`` of a toy run, with ``more`` arguments."""
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")

    return lambda rank: toy_run(path, None, lambda: None, *more)


def trained(world: ToyWorld, size: int, mapping: dict[str, Any], *more: str) -> Path:
    """The run directory of a run of so many processes, all of which ended well."""
    world.root.mkdir(exist_ok=True)
    for rank, ended in enumerate(launched(size, distill(world, mapping, *more), world.root).ended()):
        assert ended.status == 0, f"rank {rank} of {size}: {ended.err}"
    return Path(mapping["output_dir"])
