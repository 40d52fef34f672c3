"""What a training step of distill costs, against a hand-written loop: ``uv run python benchmarks/step.py [finetune dmd2 null]``.

The loop is benchmarks/yardstick.py: torch and diffusers, the same mathematics. Before anything is measured, 20 steps of both must end in
the same weights, to the bit. Prints one line of JSON per method. Times are of the CPU, in interleaved pairs, so that other work on the
machine slows both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from counters import Saved, flops_of, ops_of
from diffusers import WanTransformer3DModel
from rich.console import Console
from torch import Tensor, nn
from yardstick import Dmd2, Finetune, Sample, Settings, Trained, key_bits, velocity

from distill_core.checkpoint import Checkpoints
from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.config.schema import Optimization
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.data.reading.order import Bucket
from distill_core.data.reading.stream import RowStream
from distill_core.plugins.discovery import discover
from distill_core.protocols import Ask, Batch, Condition, Draw, Method, Prediction, Row, RowKey, StagedLoss
from distill_core.ranks.place import Place
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.running.build import Runtime, build
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.stopping import Stopping
from distill_core.tracking.events import Events
from distill_core.tracking.jsonl import JsonlTracker
from distill_core.tracking.progress import Progress
from distill_core.training.asking import AskedMethod
from distill_core.training.batches import Batches
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.roles import RoleHandle
from distill_core.training.schedule import Schedule
from distill_core.training.state import TrainingState
from distill_core.training.trainer import DistillTrainer
from distill_model_wan.testing import TEXT_WIDTH, make_tiny_pipeline

ROLES = ("student", "teacher", "critic")
SHAPE_TCHW = (5, 16, 8, 8)
TEXT_LENGTH, SHIFT, RATE, SEED, BATCH = 32, 3.0, 1e-4, 3, 2
GATE = 20
"""Steps after which both must have the same weights."""
INTERVAL, STUDENT_STEPS = 5, 4
"""DMD2's defaults: training steps per update of the student, and its denoising steps."""
LONG = 1000
"""Steps over whose drawn exits FLOPs are averaged."""
READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"}
"""What the host would wait for a device for."""


class World:
    """Models and data below a folder."""

    def __init__(self, root: Path, layers: int, heads: int) -> None:
        self.root = root
        for seed, role in enumerate(ROLES):
            make_tiny_pipeline(root / role, "t2v", seed=seed, flow_shift=SHIFT, text_length=TEXT_LENGTH)
            torch.manual_seed(seed)
            shape = {"num_layers": layers, "num_attention_heads": heads, "ffn_dim": heads * 128}
            own = {"attention_head_dim": 32, "in_channels": 16, "out_channels": 16, "text_dim": TEXT_WIDTH}
            model = WanTransformer3DModel(**shape, **own, freq_dim=256, rope_max_seq_len=64)
            model.save_pretrained(root / role / "transformer")
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        generator = torch.Generator().manual_seed(5)
        with ParquetWriter(root / "data", T2V_SCHEMA) as writer:
            for number in range(16):
                text_LD = torch.randn(3 + number, TEXT_WIDTH, generator=generator)
                latent = torch.randn(SHAPE_TCHW, generator=generator).transpose(0, 1)
                writer.add(
                    ClipRecord(f"clip{number}", f"a cat {number}", text_LD, latent, f"{number}", 64, 64, 17, 16.0)
                )

    def run(
        self, method: str, name: str, ranks: Ranks = ALONE, shard: int = 1, *, lora: bool = False, context: int = 1
    ) -> Runtime:
        """A run of distill, built and not yet begun; with LoRAs, all on the student's weights."""
        roles = ROLES if method == "dmd2" else ROLES[:1]
        mapping: dict[str, Any] = {
            "recipe": {"family": "wan", "method": method},
            "roles": {role: {"path": str(self.root / role), "trainable": role != "teacher"} for role in roles},
            "data": {"path": str(self.root / "data"), "num_workers": 0},
            "training": {
                "max_train_steps": 10**6, "train_batch_size": BATCH, "learning_rate": RATE, "seed": SEED,
                "device": "cpu",
            },
            "tracking": {"log_interval": 10**6},
            "pipeline_config": {"flow_shift": SHIFT, "text_padding": "full"},
            "validation": {"interval": None},
            "distributed": {"shard": shard, "context": context},
            "output_dir": str(self.root / name),
        }  # fmt: skip
        if lora:
            for role, settings in mapping["roles"].items():
                settings |= {"path": str(self.root / "student")} | ({} if role == "teacher" else {"lora": {}})
        options = {"dmd2": {"generator_update_interval": INTERVAL}, "finetune": {"caption_dropout": 0.0}}
        mapping["method_config"] = options[method]
        path = self.root / f"{name}-{ranks.rank}.yaml"
        path.write_text(write_yaml(mapping), encoding="utf-8")
        resolved = open_run(path, (), discover())
        directory = RunDirectory(Path(resolved.config.output_dir))
        directory.root.mkdir(exist_ok=not ranks.alone)
        ranks.meet()
        prepared, quiet = prepare(resolved, Place(ranks.rank, ranks.size)), Progress(Console(quiet=True))
        return build(prepared, directory, [], Events(None), quiet, Stopping(), ranks)

    def loop(self, method: str, runtime: Runtime) -> Finetune | Dmd2:
        """The yardstick on the same rows in the same order, read by the same reader."""
        trainer = trainer_of(runtime)
        stream = self.run(method, f"{method}-rows").rows

        def samples() -> Iterator[list[Sample]]:
            for rows, _, _ in stream:
                yield [Sample(row.latent_CTHW, row.text_LD) for row in rows]

        settings = Settings(RATE, SEED, TEXT_LENGTH, SHIFT, SHAPE_TCHW, update_interval=INTERVAL)
        if method == "finetune":
            return Finetune(self.root / "student", samples(), settings)
        teacher = runtime.roles["teacher"]
        text = trainer.batches.prepare(next(stream).rows, SHAPE_TCHW).conditions["wan"]
        negative = teacher.unconditional(text)
        stream.load_state_dict({**stream.state_dict(), "samples": 0})
        return Dmd2(
            {role: self.root / role for role in ROLES}, samples(), settings, vars(negative)["embeds_BLD"][0].clone()
        )


def trainer_of(runtime: Runtime) -> DistillTrainer:
    """The default trainer."""
    assert isinstance(runtime.trainer, DistillTrainer)
    return runtime.trainer


def check_weights(runtime: Runtime, loop: Finetune | Dmd2) -> None:
    """Raise SystemExit unless the trained weights of both are the same to the bit."""
    for name in ROLES:
        theirs = vars(loop).get(name)
        if isinstance(theirs, Trained):
            ours = runtime.roles[name].modules["transformer"].parameters()
            if not all(torch.equal(*pair) for pair in zip(ours, theirs.model.parameters(), strict=True)):
                raise SystemExit(f"{name}: the weights of the run and of the loop differ")


def saved_bytes(runtime: Runtime, loop: Finetune | Dmd2, step: int) -> dict[str, float]:
    """Of the run's step against the graph of one role alone, which is the loop's finetuning; and what frozen roles save."""
    parameters = [parameter for role in runtime.roles.values() for parameter in role.container.parameters()]
    ours, alone = Saved(iter(parameters)), Saved(loop.student.model.parameters())
    with ours.watching():
        trainer_of(runtime).train_step(step)
    text, latents = loop.texts(next(loop.batches)), torch.randn(BATCH, *SHAPE_TCHW)
    with alone.watching():
        loss = torch.mean(velocity(loop.student.model, latents, torch.ones(BATCH), text) ** 2)
    loss.backward()
    loop.student.optimizer.zero_grad(set_to_none=True)
    found = {"saved_to_one_role": round(ours.most / alone.most, 3)}
    if "teacher" in runtime.roles:
        frozen, teacher = Saved(iter(parameters)), runtime.roles["teacher"]
        condition = trainer_of(runtime).batches.prepare(next(runtime.rows).rows, SHAPE_TCHW).conditions["wan"]
        with frozen.watching():
            teacher.predict_x0(latents, torch.full((BATCH,), 500.0, dtype=torch.float64), condition)
        found["saved_by_frozen"] = frozen.most
    return found


def pairs(ours: Callable[[int], object], theirs: Callable[[int], object], first: int, count: int) -> list[float]:
    """ours ÷ theirs of each step, by CPU time, the two in alternating order."""
    ratios = []
    for step in range(first, first + count):
        works = (ours, theirs) if step % 2 else (theirs, ours)
        times = {work: cpu_seconds(partial(work, step)) for work in works}
        ratios.append(times[ours] / times[theirs])
    return ratios


def cpu_seconds(work: Callable[[], object]) -> float:
    """The CPU time that it takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def iteration_flops(step: Callable[[int], object], loop: Dmd2, first: int) -> dict[str, float]:
    """FLOPs of five steps of DMD2 ÷ the floor for the exits drawn; and of so many steps ÷ a loop that rolls every step out, twice."""
    text, latents = loop.texts(next(loop.batches)), torch.randn(BATCH, *SHAPE_TCHW)

    def forward() -> Tensor:
        """One forward with a graph."""
        return velocity(loop.student.model, latents, torch.ones(BATCH), text)

    loss = torch.mean(forward() ** 2)
    one, back = flops_of(forward), flops_of(loss.backward)
    loop.student.optimizer.zero_grad(set_to_none=True)

    def floor(number: int) -> int:
        """The steps before the drawn one, that one, teacher twice and critic where the student is due, and the critic's own."""
        due = number % INTERVAL == 0
        name = "student/exit" if due else "critic/exit"
        drawn = int((key_bits(SEED, number, 0, "shared", name) >> 10) * 2.0**-53 * STUDENT_STEPS)
        return drawn * one + (one + back + 3 * one if due else one) + one + back

    def always(number: int) -> int:
        """Every step of the student, for each of the losses of its own."""
        due = number % INTERVAL == 0
        return STUDENT_STEPS * one * (2 if due else 1) + (back + 3 * one if due else 0) + one + back

    numbers = range(first, first + INTERVAL)
    to_floor = sum(flops_of(partial(step, number)) for number in numbers) / sum(map(floor, numbers))
    to_twice = to_floor * sum(map(floor, range(1, LONG + 1))) / sum(map(always, range(1, LONG + 1)))
    return {"flops_to_floor": round(to_floor, 4), "flops_to_always_twice": round(to_twice, 3)}


def compared(world: World, method: str, count: int) -> dict[str, Any]:
    """All figures of one method."""
    runtime = world.run(method, method)
    ours, loop = trainer_of(runtime).train_step, world.loop(method, runtime)
    for step in range(1, GATE + 1):
        ours(step)
        loop.step(step)
    check_weights(runtime, loop)
    ratios = pairs(ours, loop.step, GATE + 1, count)
    step = (GATE + count) // INTERVAL * INTERVAL + 1
    extra, reads = [], 0
    for number in range(step, step + INTERVAL):
        found, theirs = ops_of(partial(ours, number)), ops_of(partial(loop.step, number))
        extra.append(found.total() - theirs.total())
        reads += sum(found[name] - theirs[name] for name in READS)
    figures: dict[str, Any] = {
        "method": method,
        "parameters": world.parameters,
        "step_to_loop": round(statistics.median(ratios), 4),
        "quartiles": [round(value, 4) for value in np.quantile(ratios, (0.25, 0.75)).tolist()],
        "more_operations": extra,
        "host_reads": reads,
        **saved_bytes(runtime, loop, step + 2 * INTERVAL - 1),
    }
    if isinstance(loop, Dmd2):
        figures |= iteration_flops(ours, loop, step + 2 * INTERVAL)
    return figures


CAPTIONS = 4096
"""More than a null trainer draws in a measurement, so that none of it falls on the order of an epoch."""


class Numbers:
    """A data set of the same caption again and again."""

    def __len__(self) -> int:
        return CAPTIONS

    def __getitem__(self, index: int) -> Row:
        return Row(str(index), str(index), torch.ones(1, 4))

    def fingerprint(self) -> str:
        """It is always the same."""
        return "numbers"


class NoPredictions:
    """An adapter that nobody asks."""

    def prepare_condition(self, rows: Sequence[Row]) -> Condition:
        """Never."""
        raise NotImplementedError

    def predict(
        self, modules: Mapping[str, nn.Module], noisy: Tensor, timestep: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """Never."""
        raise NotImplementedError


class NoBatches(Batches):
    """Prepares nothing."""

    def __init__(self) -> None:
        """Without families."""

    def prepare(self, rows: Sequence[Row], latent_shape: tuple[int, int, int, int]) -> Batch:
        """A batch without conditions."""
        return Batch(tuple(RowKey(row.id, row.caption) for row in rows), {}, latent_shape)


class Null(Method):
    """A method whose loss is its only weight."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The weight."""
        yield StagedLoss("pupil", "loss", self.weight.sum())

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """Always."""
        return ("pupil",)

    def validation(self, step: int) -> None:
        """Nothing to show."""


def null_trainer(folder: Path, count: int) -> dict[str, Any]:
    """Microseconds of a step in which nothing is computed, and of what torch itself takes of them."""
    own = nn.Linear(1, 1, bias=False)
    role = RoleHandle("pupil", {"module": own}, NoPredictions(), trainable=True)
    role.optimizer = RoleOptimizer(role.trained_parameters(), Optimization(), 1)
    trainer = DistillTrainer(
        Schedule(10**6, 1, 0, 10**6, None, None, False),
        AskedMethod(Null(own.weight), "null", {"pupil": role}),
        TrainingState(
            {"pupil": role}, RowStream(Numbers(), [Bucket.of((1, 1, 1, 1), np.arange(CAPTIONS))], seed=0, batch_size=1),
            (1, 1, 1, 1),
        ),
        NoBatches(),
        torch.device("cpu"),
        start=0,
        validated=False,
        checkpoints=Checkpoints(folder / "checkpoints", Events(None), keep_last=1),
        tracker=JsonlTracker(folder / "metrics.jsonl"),
        events=Events(None),
        progress=Progress(Console(quiet=True)),
        validator=None,
        stopping=Stopping(),
    )  # fmt: skip
    weight = nn.Parameter(torch.ones(1, 1))
    adamw = torch.optim.AdamW([weight], fused=True)

    def bare(step: int) -> None:
        """What torch does of such a step."""
        weight.sum().backward()
        nn.utils.clip_grad_norm_([weight], 1.0, foreach=True)
        adamw.step()
        adamw.zero_grad(set_to_none=True)

    def microseconds(work: Callable[[int], object]) -> float:
        """Of one step, among so many."""
        return min(cpu_seconds(lambda: [work(step) for step in range(1, count + 1)]) / count * 1e6 for _ in range(5))

    whole, torchs = microseconds(trainer.train_step), microseconds(bare)
    return {
        "method": "null",
        "trainer_us": round(whole - torchs, 1),
        "step_us": round(whole, 1),
        "torch_us": round(torchs, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=["finetune", "dmd2", "null"])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4, help="32 features each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), options.layers, options.heads)
        for method in options.methods:
            made: Mapping[str, Any] = (
                null_trainer(Path(folder), 500) if method == "null" else compared(world, method, options.pairs)
            )
            print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
