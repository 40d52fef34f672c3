"""The loop itself, with a method whose numbers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tests.core.conftest import methods
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from distill_core.checkpoint import Checkpoints
from distill_core.config.schema import Optimization
from distill_core.data.reading.order import Bucket
from distill_core.data.reading.stream import RowStream
from distill_core.protocols import Batch, Draw, Row, RowKey, StagedLoss, ValidationRequest
from distill_core.stopping import Stopping
from distill_core.testing.contracts import FAMILY, toy_roles
from distill_core.testing.toy import ToyText
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress
from distill_core.training.asking import AskedMethod
from distill_core.training.guarded_adamw import Flag
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.roles import RoleHandle
from distill_core.training.schedule import Schedule
from distill_core.training.state import TrainingState
from distill_core.training.trainer import DistillTrainer


class Numbers:
    """A data set of the numbers 0, 1, 2, … as captions."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Row:
        return Row(str(index), str(index), torch.full((1, 4), float(index)))

    def fingerprint(self) -> str:
        return "numbers"


class Remembering:
    """Prepares the numbers, and remembers them."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def prepare(self, rows: Sequence[Row], latent_shape: tuple[int, int, int, int]) -> Batch:
        self.seen.append([float(row.id) for row in rows])
        text = ToyText(torch.stack([row.text_LD[0] for row in rows]))
        return Batch(tuple(RowKey(row.id, row.caption) for row in rows), {FAMILY: text}, latent_shape)


class Linear:
    """loss = weight · mean of the numbers, so the gradient is that mean. The second role steps on even steps."""

    def __init__(self, roles: dict[str, RoleHandle], log: list[str]) -> None:
        self.weights = {name: next(role.container.parameters()) for name, role in roles.items()}
        self.log = log

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        text = batch.conditions[FAMILY]
        assert isinstance(text, ToyText)
        for role in self.roles_to_step(draw.step):
            self.log.append(f"{role} before")
            yield StagedLoss(role, f"{role}_loss", (self.weights[role] * text.mean_BD.mean()).sum())
            assert self.weights[role].grad is not None, "backward must have run before the method goes on"
            self.log.append(f"{role} after")

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        return ("student", "critic") if step % 2 == 0 else ("critic",)

    def validation(self, step: int) -> ValidationRequest | None:
        return None


class Recorder:
    """A tracker that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.lines.append((step, dict(metrics)))

    def video(self, name: str, path: Path, caption: str, step: int) -> None: ...

    def file(self, path: Path, name: str) -> None: ...

    def saved(self, step: int) -> None: ...

    def go_back(self, step: int) -> None: ...

    def finish(self) -> None: ...


EVERY_ROW = Bucket.of((1, 1, 1, 1), np.arange(len(Numbers())))


class Keeping(RoleOptimizer):
    """Keeps the gradient of each step."""

    def __init__(self, gradients: list[Tensor], parameters: dict[str, nn.Parameter], total_updates: int) -> None:
        super().__init__(parameters, Optimization(max_grad_norm=None), total_updates)
        self.gradients = gradients

    def step(self, flag: Flag | None = None) -> None:
        gradient = next(iter(self.parameters.values())).grad
        assert gradient is not None
        self.gradients.append(gradient.clone())
        super().step(flag)


class Rig:
    """A trainer with everything around it."""

    def __init__(self, folder: Path, *, accumulation: int = 1, max_steps: int = 4, log_interval: int = 1) -> None:
        self.roles = {name: role for name, role in toy_roles(methods()[0]).items() if role.trainable}
        self.gradients: dict[str, list[Tensor]] = {name: [] for name in self.roles}
        for name, role in self.roles.items():
            role.optimizer = Keeping(self.gradients[name], role.trained_parameters(), max_steps)
        self.log: list[str] = []
        self.batches, self.tracker = Remembering(), Recorder()
        self.trainer = DistillTrainer(
            Schedule(max_steps, accumulation, 0, log_interval, None, None, False),
            AskedMethod(Linear(self.roles, self.log), "linear", self.roles),
            TrainingState(self.roles, RowStream(Numbers(), [EVERY_ROW], seed=0, batch_size=2), (1, 1, 1, 1)),
            self.batches,
            torch.device("cpu"),
            start=0,
            validated=False,
            checkpoints=Checkpoints(folder, Events(None), keep_last=1),
            tracker=self.tracker,
            events=Events(None),
            progress=Progress(Console(quiet=True)),
            validator=None,
            stopping=Stopping(),
        )


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_gradient_is_the_mean_over_the_accumulated_micro_batches(tmp_path: Path, accumulation: int) -> None:
    rig = Rig(tmp_path, accumulation=accumulation, max_steps=1)
    rig.trainer.train_step(1)
    expected = torch.tensor(rig.batches.seen).mean()
    assert len(rig.batches.seen) == accumulation
    torch.testing.assert_close(rig.gradients["critic"][0], expected.expand_as(rig.gradients["critic"][0]))


def test_backward_runs_between_the_losses(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.trainer.train_step(2)
    assert rig.log == ["student before", "student after", "critic before", "critic after"]


def test_only_the_roles_that_are_due_step_and_gradients_are_cleared(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for step in range(1, 5):
        rig.trainer.train_step(step)
    assert {name: role.optimizer.updates for name, role in rig.roles.items() if role.optimizer} == {
        "student": 2,
        "critic": 4,
    }
    assert all(parameter.grad is None for role in rig.roles.values() for parameter in role.container.parameters())


def test_gradients_of_a_role_that_is_not_due_do_not_outlive_the_step(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    stray = next(rig.roles["student"].container.parameters())
    stray.grad = torch.ones_like(stray)
    rig.trainer.train_step(1)
    assert stray.grad is None


def test_every_row_is_seen_once_an_epoch(tmp_path: Path) -> None:
    rig = Rig(tmp_path, accumulation=3)
    rig.trainer.train_step(1)
    assert sorted(number for batch in rig.batches.seen for number in batch) == [0, 1, 2, 3, 4, 5]


def test_figures_are_means_over_the_interval(tmp_path: Path) -> None:
    rig = Rig(tmp_path, max_steps=4, log_interval=2)
    rig.trainer.run()
    assert [step for step, _ in rig.tracker.lines] == [2, 4]
    assert {"critic_loss", "student_loss", "grad_norm/critic", "learning_rate/critic"} <= rig.tracker.lines[0][1].keys()


class CountReads(TorchDispatchMode):
    """Counts reads of a tensor by the host, each a synchronisation on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_step_that_does_not_log_reads_nothing_to_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)
    rig.trainer.train_step(1)
    rig.trainer.state.stream = iter([next(rig.trainer.state.stream)])  # type: ignore[assignment]  row numbers are the host's own
    with CountReads() as counted, monkeypatch.context() as patch:
        patch.setattr(Tensor, "tolist", lambda _: pytest.fail("a tensor was read to the host"))
        rig.trainer.train_step(2)
    assert counted.reads == 0
