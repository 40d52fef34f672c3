"""Roles that step each once it is done: the same bits, less memory, and what becomes of a step that breaks later."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core import conftest, test_resume_table
from tests.core.conftest import INDEX, ToyWorld
from tests.core.ranked import trained
from tests.core.small_methods import SMALL
from tests.core.test_resume_table import GLOW, KINDS, go, mapping_of, methods
from torch import Tensor

from distill_core.checkpoint.tensors import read_tensors
from distill_core.errors import MethodError, NonFiniteError
from distill_core.plugins.index import PluginIndex
from distill_core.protocols import Batch, Draw, StagedLoss
from distill_core.testing.toy_spec import TOY
from distill_core.training.trainer import DistillTrainer
from distill_method_dmd2.method import Dmd2

ALONE = {"step_roles": "alone"}
GAN = {"gan_weight": 0.1, "generator_update_interval": 2}
OWN_SAMPLE = {"critic_reuses_student_sample": False, "generator_update_interval": 2}
DRAWN = {"critic_keeps": 0.75, "generator_update_interval": 2}


def run_of(world: ToyWorld, options: dict[str, Any], **training: Any) -> dict[str, Any]:
    """DMD2 with averages, six steps."""
    training = {"max_train_steps": 6, **training}
    run = world.mapping("dmd2", training=training, method_config=options, checkpoint={"interval": 1, "keep_last": 99})
    run["roles"]["student"]["ema"] = run["roles"]["critic"]["ema"] = {"decay": 0.9}
    return run


def ended(directory: Path, step: int = 6) -> dict[str, Tensor]:
    """All state after a step."""
    return read_tensors(directory / "checkpoints" / f"step-{step:08d}" / "dcp")


def figures(directory: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("steps_per_second", "time")} for line in lines]


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("options", [GAN, OWN_SAMPLE, DRAWN], ids=["gan", "own sample", "drawn to the student"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_roles_that_step_alone_get_the_bits_of_those_that_step_together(
    tmp_path: Path, options: dict[str, Any], accumulation: int
) -> None:
    ends = []
    for name, settings in (("together", {}), ("alone", ALONE)):
        world = ToyWorld(tmp_path / name)
        run = run_of(world, options, gradient_accumulation_steps=accumulation, **settings)
        ends.append(world.train(run).root)
    assert_same(*map(ended, ends))
    assert figures(ends[0]) == figures(ends[1])


def test_a_run_goes_on_the_other_way(tmp_path: Path) -> None:
    whole, cut = ToyWorld(tmp_path / "whole"), ToyWorld(tmp_path / "cut")
    first = whole.train(run_of(whole, GAN)).root
    cut.train(run_of(cut, GAN, max_train_steps=3))
    assert_same(ended(first), ended(cut.train(run_of(cut, GAN, **ALONE)).root))


@pytest.mark.parametrize("shard", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_several_processes_step_their_roles_alone_too(tmp_path: Path, shard: int) -> None:
    ends = []
    for name, settings in (("together", {}), ("alone", ALONE)):
        world = ToyWorld(tmp_path / name)
        run = run_of(world, GAN, train_batch_size=4, **settings) | {"distributed": {"shard": shard}}
        ends.append(trained(world, 2, run))
    assert_same(*map(ended, ends))


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, set[str], set[str]]]:
    """Each loss of a run by name, the roles that have gradients when its backward pass begins, and those that it trains."""
    seen: list[tuple[str, set[str], set[str]]] = []
    backward = DistillTrainer._backward

    def watched(trainer: DistillTrainer, loss: StagedLoss) -> None:
        optimizers = {name: optimizer for name, (_, optimizer) in trainer.state.trained.items()}
        held = {name for name, each in optimizers.items() if any(p.grad is not None for p in each.parameters.values())}
        seen.append((loss.name, held, set(loss.roles)))
        backward(trainer, loss)

    monkeypatch.setattr(DistillTrainer, "_backward", watched)
    return seen


def test_of_roles_that_step_alone_one_has_gradients_at_a_time(
    world: ToyWorld, gradients: list[tuple[str, set[str], set[str]]]
) -> None:
    world.train(run_of(world, GAN, max_train_steps=2, **ALONE))
    names = ["critic_loss", "discriminator_loss", "student_loss", "critic_loss", "discriminator_loss"]
    assert [(name, held) for name, held, _ in gradients] == [(name, set()) for name in names]


def test_of_roles_that_step_together_all_have_them_to_the_end(
    world: ToyWorld, gradients: list[tuple[str, set[str], set[str]]]
) -> None:
    world.train(run_of(world, GAN, max_train_steps=2))
    assert [(name, held) for name, held, _ in gradients[2:]] == [
        ("student_loss", set()),
        ("critic_loss", {"student"}),
        ("discriminator_loss", {"student", "critic"}),
    ]


def broken_at_4(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    """Step 4 trains both roles; what is recomputed for the backward pass of ``role`` there is no number."""
    train_step = DistillTrainer.train_step

    def breaking(trainer: DistillTrainer, step: int) -> None:
        hook = None
        if step == 4:
            denoiser = trainer.state.roles[role].container["denoiser"]

            def spoil(_: object, __: object, out: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
                return (out[0] * float("nan"), out[1]) if torch.is_grad_enabled() else out

            hook = denoiser.register_forward_hook(spoil)
        train_step(trainer, step)
        if hook is not None:
            hook.remove()

    monkeypatch.setattr(DistillTrainer, "train_step", breaking)


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The roles of which anything changed."""
    return {name.split(".")[1] for name in after if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("role", "stepped", "said"),
    [
        (
            "critic",
            {"student"},
            "critic_loss, grad_norm/critic not finite .*skipped: of it only student stepped, before",
        ),
        ("student", set(), "student_loss, grad_norm/student.* not finite .*skipped: nothing of it was applied"),
    ],
)
def test_a_skipped_step_keeps_the_update_of_who_had_stepped(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, role: str, stepped: set[str], said: str
) -> None:
    broken_at_4(monkeypatch, role)
    directory = world.train(run_of(world, DRAWN, on_nonfinite="skip", **ALONE))
    assert moved(ended(directory.root, 3), ended(directory.root, 4)) == stepped
    assert moved(ended(directory.root, 4), ended(directory.root, 5)) == {"critic"}
    (told,) = (line for line in (directory.root / "events.jsonl").read_text().splitlines() if "step_skipped" in line)
    assert re.search(said, told)


@pytest.mark.parametrize("policy", ["stop", "rollback"])
def test_where_a_run_stops_or_goes_back_nothing_of_a_broken_step_is_kept(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """Not even the student's update, which was sound. The step is made again by a run that goes on."""
    whole = ToyWorld(world.root / "whole")
    expected = ended(whole.train(run_of(whole, GAN)).root)
    with monkeypatch.context() as patch:
        broken_at_4(patch, "critic")
        with pytest.raises(
            NonFiniteError,
            match=r"critic_loss, grad_norm/critic not finite at step 4.*; of it only student stepped, before",
        ):
            world.train(run_of(world, GAN, on_nonfinite=policy, **ALONE))
    assert sorted(path.name for path in (world.root / "run" / "checkpoints").iterdir())[-1] == "step-00000003"
    assert_same(expected, ended(world.train(run_of(world, GAN, on_nonfinite="stop", **ALONE)).root))


class DoneTooEarly(Dmd2):
    """The student's own loss names whom no loss has trained yet."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """With one fault."""
        for loss in super().losses(batch, draw):
            yield replace(loss, done=("critic",)) if loss.role == "student" else loss


class NobodyDone(Dmd2):
    """A name that is no role's."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """With one fault."""
        for loss in super().losses(batch, draw):
            yield replace(loss, done=("studnet",))


class TrainsTheDone(Dmd2):
    """A second loss of the student's, when it is done."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """With one fault."""
        for loss in super().losses(batch, draw):
            yield loss
            if loss.done and "student" in self.roles_to_step(draw.step):
                noise = draw.normal("start", batch.latent_shape)
                value = self.teacher.predict_x0(noise, draw.uniform("t"), batch.condition_of(self.teacher)).mean()
                yield StagedLoss("student", "again", value.requires_grad_())


class AsksTheDone(Dmd2):
    """The student is asked when it is done."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """With one fault."""
        for loss in super().losses(batch, draw):
            yield loss
            if loss.done and "student" in self.roles_to_step(draw.step):
                self.sample(batch, draw)


class AsksWhoIsNotDue(Dmd2):
    """The student is asked where it is said to be done and does not step."""

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The same losses."""
        for loss in super().losses(batch, draw):
            yield loss
            if "student" not in self.roles_to_step(draw.step):
                assert "student" in loss.done
                self.sample(batch, draw)


def index_with(method: type[Dmd2]) -> PluginIndex:
    """The installed plugins, with a DMD2 that is built as this one."""
    spec = replace(INDEX.methods["dmd2"], build=f"{__name__}:{method.__name__}")
    return PluginIndex.of(INDEX.models.values(), [spec], INDEX.metrics.values())


@pytest.mark.parametrize("settings", [{}, ALONE], ids=["together", "alone"])
def test_that_a_role_is_done_which_does_not_step_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    plain, asking = ToyWorld(tmp_path / "plain"), ToyWorld(tmp_path / "asking")
    expected = ended(plain.train(run_of(plain, {"generator_update_interval": 2})).root)
    monkeypatch.setattr(conftest, "INDEX", index_with(AsksWhoIsNotDue))
    assert_same(expected, ended(asking.train(run_of(asking, {"generator_update_interval": 2}, **settings)).root))


@pytest.mark.parametrize("settings", [{}, ALONE], ids=["together", "alone"])
@pytest.mark.parametrize(
    ("method", "fault"),
    [
        (DoneTooEarly, "'student_loss' has 'critic' as done, and no loss before it trains 'critic'"),
        (NobodyDone, "'critic_loss' has 'studnet' as done, which is no role; roles: student, teacher, critic"),
        (TrainsTheDone, "'again' trains student, which an earlier loss, or this one, names in `done`"),
        (AsksTheDone, "it asks role 'student' after a loss that names it in `done`"),
    ],
)
def test_a_role_that_is_done_is_neither_trained_nor_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: type[Dmd2], fault: str, settings: dict[str, str]
) -> None:
    world = ToyWorld(tmp_path)
    monkeypatch.setattr(conftest, "INDEX", index_with(method))
    with pytest.raises(MethodError, match=fault):
        world.train(run_of(world, {"generator_update_interval": 2}, **settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in methods() if name != SMALL.name), ("self-forcing", {"student_loss": "gan"})],
)
def test_no_installed_method_keeps_the_gradients_of_two_roles(
    world: ToyWorld,
    gradients: list[tuple[str, set[str], set[str]]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, object],
) -> None:
    """Where its roles step alone. That their bits are those of roles that step together, check_method holds in each method's own tests."""
    monkeypatch.setattr(test_resume_table, "OPTIONS", {**test_resume_table.OPTIONS, **options})
    method = methods()[name]
    run = mapping_of(world, method, KINDS[0])
    run["training"] |= {"max_train_steps": 4, **ALONE}
    if "critic_rests" in method.options.model_fields:  # rcm's does where nobody says otherwise
        run["method_config"] |= {"critic_rests": False}
    go(world, run, PluginIndex.of(models=[TOY], methods=[method], rewards=[GLOW]), None)
    assert len(gradients) >= 4
    assert [(loss, held) for loss, held, own in gradients if held - own] == []
