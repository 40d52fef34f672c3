"""Collectives of a training step on two ranks, against theory: ``uv run python benchmarks/ranks.py [METHOD…] [--shard 1] [--context 2]``.

Two processes of this machine train a small Wan by gloo. Weights in parts: for a model of L blocks, L + 1 gathers a forward pass and L + 1
more where it has a graph, L + 1 scatters where it is trained; one reduction for the norms and the verdict, one of a few integers of the
host. Whole weights, and LoRAs on weights in parts or whole: one reduction of gradients, and that of the host; what is frozen under a LoRA
is gathered alone. Two processes that share each clip (``context``): two exchanges a block and pass, two more where it has a graph, a gather
of what is predicted, and a scatter of its gradient. Passes are counted as they are made. One line of JSON each.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import torch
from step import World, trainer_of
from torch import nn
from torch.distributed.tensor.debug import CommDebugMode

from distill_core.ranks.joined import joined
from distill_core.ranks.launcher import free_port
from distill_core.ranks.layout import Layout
from distill_core.ranks.place import Place
from distill_core.stopping import Stopping

LAYERS, STEPS, SIZE = 3, 5, 2


def counted(world: World, method: str, shard: int, *, lora: bool, context: int) -> dict[str, float]:
    """The collectives of five steps over those of theory, by kind, in one of the two processes."""
    passes: Counter[str] = Counter()

    def see(trained: bool) -> Any:
        """What is told of each forward pass of a model."""

        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            passes["forward"] += 1
            passes["graph"] += torch.is_grad_enabled()
            passes["trained"] += torch.is_grad_enabled() and trained

        return hook

    layout = Layout(SIZE // shard, shard, context)
    with (
        Stopping() as stopping,
        joined(Place.of(os.environ), os.environ, stopping, layout, timeout=120, gpu=False) as ranks,
    ):
        runtime = world.run(method, f"{method}-{shard}-{lora}-{context}", ranks, shard, lora=lora, context=context)
        trained = {
            module: role.own is role.container and role.trainable
            for role in runtime.roles.values()
            for module in role.modules.values()
        }
        for module, own in trained.items():
            module.register_forward_pre_hook(see(own))
        trainer = trainer_of(runtime)
        trainer.train_step(1)  # FSDP2 sets itself up in its first passes
        passes.clear()
        with CommDebugMode() as comm:
            for step in range(2, 2 + STEPS):
                trainer.train_step(step)
        found: Counter[str] = Counter()
        for operation, count in comm.get_comm_counts().items():
            found[_kind(str(operation))] += count
    groups = (LAYERS + 1) * (shard > 1)
    theory = {
        "gathers": groups * (passes["forward"] + passes["graph"]) + (context > 1) * passes["forward"],
        "scatters": groups * passes["trained"] + (context > 1) * passes["graph"],
        "reductions": 2 * STEPS,
        "exchanges": 2 * LAYERS * (context > 1) * (passes["forward"] + passes["graph"]),
    }
    assert found.keys() <= theory.keys(), found
    return {"collectives": sum(found.values()), **{name: round(found[name] / n, 3) for name, n in theory.items() if n}}


def _kind(operation: str) -> str:
    kinds = {"alltoall": "exchanges", "gather": "gathers", "scatter": "scatters", "reduce": "reductions"}
    return next(name for part, name in kinds.items() if part in operation)


def rank_of(rank: int, port: int, world: World, method: str, shard: int, lora: bool, context: int) -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": SIZE, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in named.items()}, MASTER_ADDR="127.0.0.1")
    line = counted(world, method, shard, lora=lora, context=context)
    if rank == 0:
        said = {"method": method, "lora": lora, "ranks": SIZE, "shard": shard, "context": context}
        print(json.dumps({**said, **line}), flush=True)


def main() -> None:
    """Each method, in parts and whole."""
    parser = argparse.ArgumentParser(description="collectives of a training step on two ranks, against theory")
    parser.add_argument("methods", nargs="*", default=["finetune", "dmd2"])
    parser.add_argument("--shard", type=int, nargs="*", default=[SIZE, 1], help="weights in so many parts alone")
    parser.add_argument("--context", type=int, nargs="*", default=[1, SIZE], help="so many to a clip alone")
    chosen = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as root:
        world = World(Path(root), LAYERS, 2)
        for method in chosen.methods:
            for shard, lora, context in product(chosen.shard, (False, True), chosen.context):
                port = free_port()
                processes = [
                    spawn.Process(target=rank_of, args=(rank, port, world, method, shard, lora, context))
                    for rank in range(SIZE)
                ]
                for process in processes:
                    process.start()
                for process in processes:
                    process.join()
                    assert process.exitcode == 0, process.exitcode


if __name__ == "__main__":
    main()
