"""Steps that are not finite: what they change (nothing), which rows are named, and the three ways on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.conftest import CAPTIONS, ToyWorld
from torch import Tensor

from distill_core.checkpoint import Checkpoint
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.errors import DataError, NonFiniteError
from distill_core.running.run_directory import RunDirectory
from distill_core.testing.toy import ToyDenoiser, encode_caption
from distill_core.training.guard import BrokenStep, FiniteGuard, of_all
from distill_core.training.metrics import MetricWindow
from distill_core.training.trainer import MOST_ROLLBACKS, MOST_SKIPPED, DistillTrainer

CPU = torch.device("cpu")


LARGEST = 1e7
"""As large as the reader lets a latent be; a model may overflow at less."""


@pytest.fixture(autouse=True)
def overflows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A denoiser that overflows where its input is large, as one in a narrow dtype does."""
    original = ToyDenoiser.forward

    def forward(self: ToyDenoiser, x_BTCHW: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        velocity_BTCHW, hidden = original(self, x_BTCHW, *others)
        return velocity_BTCHW.where(x_BTCHW.abs() < 100.0, math.inf), hidden

    monkeypatch.setattr(ToyDenoiser, "forward", forward)


def huge_row(world: ToyWorld, value: float = LARGEST) -> None:
    """Let one of the world's five rows, clip3, have finite latents that no loss of it is finite with."""
    for file in (world.root / "data").iterdir():
        file.unlink()
    generator = torch.Generator().manual_seed(5)
    with ParquetWriter(world.root / "data", T2V_SCHEMA) as writer:
        for index, caption in enumerate(CAPTIONS):
            latent_CTHW = torch.randn(2, 3, 4, 4, generator=generator)
            if index == 3:
                latent_CTHW = torch.full_like(latent_CTHW, value)
            writer.add(
                ClipRecord(
                    f"clip{index}", caption, encode_caption(caption), latent_CTHW, f"{index}.mp4", 16, 16, 9, 16.0
                )
            )


def finetuned(world: ToyWorld, policy: str, **training: Any) -> dict[str, Any]:
    """A run over the world's rows, one by one, with an average and a checkpoint every second step."""
    settings = {"train_batch_size": 1, "on_nonfinite": policy, "max_grad_norm": None, **training}
    run = world.mapping("finetune", training=settings, checkpoint={"interval": 2, "keep_last": 99})
    run["roles"]["student"]["ema"] = {"decay": 0.9}
    return run


def lines(directory: RunDirectory, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory.root / name).read_text().splitlines()]


def saved(directory: RunDirectory, step: int) -> dict[str, Tensor]:
    path = directory.checkpoints / f"step-{step:08d}"
    shapes = Checkpoint(path, step).state()["tensors"]
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    Checkpoint(path, step).load(tensors)
    return tensors


def test_a_finite_row_that_breaks_its_loss_is_named(world: ToyWorld) -> None:
    huge_row(world)
    with pytest.raises(
        NonFiniteError, match=r"loss not finite at step \d+, made from rows 'clip3'; nothing of it was applied"
    ):
        world.train(finetuned(world, "stop"))


def test_skipped_steps_are_counted_and_told_and_the_rest_is_trained(world: ToyWorld) -> None:
    huge_row(world)
    directory = world.train(finetuned(world, "skip"))
    skipped = [event for event in lines(directory, "events.jsonl") if event["event"] == "step_skipped"]
    assert all("'clip3'" in event["message"] for event in skipped)
    assert sum(line.get("skipped_steps", 0) for line in lines(directory)) == len(skipped) >= 2
    assert all(math.isfinite(value) for line in lines(directory) for value in line.values())
    assert all(tensor.isfinite().all() for tensor in saved(directory, 12).values())


def test_a_skipped_step_changes_no_bit(world: ToyWorld) -> None:
    """Weights, moments and average after a skipped step are those before it; the next step changes them."""
    huge_row(world)
    run = finetuned(world, "skip") | {"checkpoint": {"interval": 1, "keep_last": 99}}
    directory = world.train(run)
    broken = {event["step"] for event in lines(directory, "events.jsonl") if event["event"] == "step_skipped"}
    for step in range(2, 13):
        before, after = saved(directory, step - 1), saved(directory, step)
        same = [torch.equal(before[name], after[name]) for name in after]
        assert all(same) if step in broken else not any(same), step


def test_a_run_that_skips_goes_on_exactly(tmp_path: Path) -> None:
    whole, cut = ToyWorld(tmp_path / "whole"), ToyWorld(tmp_path / "cut")
    huge_row(whole)
    huge_row(cut)
    first = whole.train(finetuned(whole, "skip"))
    cut.train(finetuned(cut, "skip", max_train_steps=7))
    second = cut.train(finetuned(cut, "skip"))
    (ours, theirs) = (saved(directory, 12) for directory in (first, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_steps_that_break_one_after_another_end_a_run_that_skips(world: ToyWorld) -> None:
    run = finetuned(world, "skip", learning_rate=1e30, max_train_steps=40)
    run["checkpoint"] = {"interval": None}
    with pytest.raises(NonFiniteError, match=f"{MOST_SKIPPED} steps one after another were like this"):
        world.train(run)


def test_a_rolled_back_run_is_at_its_checkpoint_again_and_draws_other_rows(world: ToyWorld) -> None:
    huge_row(world)
    directory = world.train(finetuned(world, "rollback", max_train_steps=8))
    events = lines(directory, "events.jsonl")
    assert any(event["event"] == "rolled_back" and "'clip3'" in event["message"] for event in events)
    steps = [line["step"] for line in lines(directory)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 8
    data = Checkpoint(directory.checkpoints / "step-00000008", 8).state()["data"]
    assert data["samples"] > 8


def test_rolling_back_that_does_not_help_ends_the_run(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = ToyDenoiser.forward, [0]

    def fails(self: ToyDenoiser, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        calls[0] += 1
        velocity, hidden = original(self, *arguments)
        return velocity * (math.inf if calls[0] > 5 else 1.0), hidden

    monkeypatch.setattr(ToyDenoiser, "forward", fails)
    with pytest.raises(NonFiniteError, match=rf"after {MOST_ROLLBACKS} times back to \S+step-00000004. Lower"):
        world.train(finetuned(world, "rollback"))


def test_without_a_checkpoint_there_is_nothing_to_roll_back_to(world: ToyWorld) -> None:
    huge_row(world)
    run = finetuned(world, "rollback") | {"checkpoint": {"interval": None}}
    with pytest.raises(NonFiniteError, match="goes on from the start, as nothing was saved"):
        world.train(run)


def test_a_broken_model_is_not_validated(world: ToyWorld) -> None:
    run = finetuned(world, "stop", learning_rate=1e39, max_train_steps=4)
    run |= {"validation": {"interval": 1}, "checkpoint": {"interval": None}, "tracking": {"log_interval": 4}}
    with pytest.raises(NonFiniteError, match="not finite after the update of step 1"):
        world.train(run)
    assert not (world.root / "run" / "samples").exists()


def test_a_policy_can_be_chosen_by_whom_a_run_has_left(world: ToyWorld) -> None:
    huge_row(world)
    with pytest.raises(NonFiniteError):
        world.train(finetuned(world, "stop"))
    assert saved(world.train(finetuned(world, "skip")), 12)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("role", ["student", "teacher", "critic"])
def test_whichever_role_breaks_no_weight_changes(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, role: str, accumulation: int, value: float
) -> None:
    """At step 5, where DMD2 trains both of its roles; nothing is masked, and nothing is applied from then on."""
    states: dict[int, dict[str, Tensor]] = {}
    train_step = DistillTrainer.train_step

    def breaking(trainer: DistillTrainer, step: int) -> None:
        hook = None
        if step == 5:
            denoiser = trainer.state.roles[role].container["denoiser"]
            hook = denoiser.register_forward_hook(lambda _, __, out: (out[0] * value, out[1]))
        train_step(trainer, step)
        if hook is not None:
            hook.remove()
        states[step] = {name: tensor.clone() for name, tensor in trainer.state.tensors().items()}

    monkeypatch.setattr(DistillTrainer, "train_step", breaking)
    run = world.mapping(
        "dmd2",
        training={"gradient_accumulation_steps": accumulation, "max_train_steps": 8},
        checkpoint={"interval": None},
        tracking={"log_interval": 8},
    )
    run["roles"]["student"]["ema"] = run["roles"]["critic"]["ema"] = {"decay": 0.9}
    with pytest.raises(NonFiniteError, match="not finite at step 5, made from rows"):
        world.train(run)
    assert all(torch.equal(states[4][name], states[8][name]) for name in states[4])


def flags(guard: FiniteGuard, *steps: float) -> Iterator[float]:
    for step, value in enumerate(steps, 1):
        guard.see(step, "loss", torch.tensor(value), ["a"])
        yield guard.judge(step, {"norm": torch.tensor(1.0)}).flag.broken.item()


def test_a_guard_that_freezes_applies_nothing_until_it_is_thawed() -> None:
    guard = FiniteGuard(CPU, freeze=True)
    assert list(flags(guard, 1.0, math.nan, 1.0)) == [0.0, 1.0, 1.0]
    assert [broken.step for broken in guard.broken_steps()] == [2]
    guard.thaw()
    assert list(flags(guard, 1.0)) == [0.0]


def test_a_guard_that_does_not_freeze_passes_over_the_broken_steps_alone() -> None:
    assert list(flags(FiniteGuard(CPU, freeze=False), math.inf, 1.0, -math.inf)) == [1.0, 0.0, 1.0]


def test_the_rows_of_the_broken_micro_step_are_named_where_a_loss_tells_them() -> None:
    guard = FiniteGuard(CPU, freeze=False)
    guard.see(3, "loss", torch.tensor(1.0), ["a", "b"])
    guard.see(3, "loss", torch.tensor(math.nan), ["c", "d"])
    guard.judge(3, {"grad_norm/student": torch.tensor(math.nan)})
    (broken,) = guard.broken_steps()
    assert (broken.what, broken.rows) == (("loss", "grad_norm/student"), ("c", "d"))
    guard.see(4, "loss", torch.tensor(1.0), ["a"])
    guard.see(4, "loss", torch.tensor(1.0), ["b"])
    guard.judge(4, {"grad_norm/student": torch.tensor(math.inf)})
    assert guard.broken_steps()[0].rows == ("a", "b")


def test_a_broken_step_is_told_by_its_own_losses_whatever_figures_came_along_before() -> None:
    guard = FiniteGuard(CPU, freeze=True)
    for step, loss in enumerate((1.0, 1.0, math.nan), 1):
        guard.see(step, "loss", torch.tensor(loss), ["a"])
        guard.judge(step, {"norm": torch.tensor(1.0)}, figures=[("figure", torch.tensor(math.inf))])
    assert [(broken.step, broken.what) for broken in guard.broken_steps()] == [(3, ("loss",))]


def test_what_a_first_verdict_of_a_step_found_holds_for_its_second_one() -> None:
    guard = FiniteGuard(CPU, freeze=False)
    found = []
    for step, losses in ((1, (1.0, math.nan)), (2, (math.inf, 1.0)), (3, (1.0, 1.0))):
        for name, value, but in zip("ab", losses, ((), ("student",)), strict=True):
            guard.see(step, name, torch.tensor(value), ["row"])
            found.append(guard.judge(step, {"norm": torch.tensor(1.0)}, but=but).flag.broken.item())
    assert found == [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert [(broken.what, broken.but) for broken in guard.broken_steps()] == [(("b",), ("student",)), (("a",), ())]


def test_of_several_ranks_the_one_that_saw_a_fault_first_says_who_had_stepped() -> None:
    early, late = BrokenStep(3, ("a", "norm"), ("1",)), BrokenStep(3, ("norm",), ("2",), ("student",))
    assert of_all([[late], [early]])[0].but == ()
    assert of_all([[late], [late]])[0].but == ("student",)


def test_means_leave_out_what_is_not_finite_and_count_it() -> None:
    window = MetricWindow()
    for value in (1.0, math.nan, 3.0):
        window.add("loss", torch.tensor(value))
    window.add("odd", torch.tensor(math.inf))
    assert window.means() == {"loss": 2.0}
    assert window.left_out == {"loss": 1, "odd": 1}
    assert window.means() == {}
    assert window.left_out == {}


def test_a_row_of_1e38_is_named_before_anything_is_trained(world: ToyWorld) -> None:
    huge_row(world, 1e38)
    with pytest.raises(DataError, match=r"data-00000\.parquet:3: vae_latent holds values beyond"):
        world.train(finetuned(world, "skip"))
    assert not (world.root / "run").exists()
