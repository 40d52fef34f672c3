"""Both sides of guidance in one pass: where that is done, what it is told as, and that it changes nothing but rounding."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.conftest import INDEX, ToyWorld, methods
from tests.core.ranked import launched
from tests.core.test_offload import logged, sound
from tests.core.test_sharding import Net
from torch import Tensor, nn
from torch.distributed.tensor.debug import CommDebugMode

from distill_core import flow
from distill_core.config.document import write_yaml
from distill_core.config.notes import notes_of
from distill_core.config.resolve import open_run
from distill_core.errors import ConfigError
from distill_core.plugins.index import PluginIndex
from distill_core.protocols import Ask, Condition, Prediction
from distill_core.protocols.role import PLAIN
from distill_core.ranks.joined import joined
from distill_core.ranks.layout import Layout
from distill_core.ranks.place import Place
from distill_core.running.roles import guidance_passes_of
from distill_core.stopping import Stopping
from distill_core.testing.toy import ToyAdapter, ToyText
from distill_core.testing.toy_spec import TOY
from distill_core.training.roles import RoleHandle
from distill_core.training.sharding import shard

TIMES = torch.tensor([900.0, 400.0, 100.0], dtype=torch.float64)
NOISY = torch.linspace(-1.0, 1.0, 9).view(3, 1, 3, 1, 1)
TEXT = ToyText(torch.linspace(-1.0, 1.0, 12).view(3, 4))
CAUSAL = Ask(until=TIMES / 2.0, clean=NOISY.flip(0), blocks=1)


class Netted:
    """A family whose denoiser is a stack of blocks, and whose negative prompt is none of zeros."""

    def unconditional(self, condition: Condition) -> ToyText:
        return ToyText(torch.full((len(condition), 4), 0.25))

    def unconditional_where(self, condition: ToyText, mask_B: Tensor) -> ToyText:
        return ToyText(torch.where(mask_B[:, None], 0.25, condition.mean_BD))

    def predict(
        self, modules: Mapping[str, nn.Module], noisy: Tensor, timestep: Tensor, condition: ToyText, ask: Ask
    ) -> Prediction:
        x = noisy.flatten(1) + condition.mean_BD[:, :3] * (timestep / 1000.0).float()[:, None]
        if ask.clean is not None and ask.until is not None:
            x = x + ask.clean.flatten(1) * (ask.until / 1000.0).float()[:, None]
        velocity: Tensor = modules["net"](x)
        return Prediction(velocity.view_as(noisy))


def guide(passes: int | None, net: nn.Module | None = None, **given: Any) -> RoleHandle:
    """A frozen role of blocks."""
    torch.manual_seed(0)
    adapter: Any = Netted()
    modules = {"net": Net() if net is None else net}
    return RoleHandle("teacher", modules, adapter, trainable=False, guidance_passes=passes, **given)


@pytest.mark.parametrize("ask", [PLAIN, CAUSAL])
def test_one_pass_of_both_sides_gives_what_two_give_and_the_same_gradients(ask: Ask) -> None:
    found = []
    for passes in (1, 2):
        noisy = NOISY.clone().requires_grad_()
        velocity = flow.guided_velocity(guide(passes), noisy, TIMES, TEXT, 3.0, ask, input_gradients=True)
        velocity.square().sum().backward()
        found.append((velocity.detach(), noisy.grad))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
    (one, _), _ = found
    assert not torch.allclose(one, guide(2).predict_velocity(NOISY, TIMES, TEXT, ask))


def test_streamed_weights_come_once_where_they_came_twice() -> None:
    came = {}
    for passes in (2, 1, None):
        torch.manual_seed(0)
        net = Net().requires_grad_(False)
        log, offload = logged(net)
        flow.guided_velocity(guide(passes, net, offload=offload), NOISY, TIMES, TEXT, 3.0)
        came[passes] = [line for line in log.lines if line.startswith("begin")]
    assert came == {2: ["begin 0", "begin 1"] * 2, 1: ["begin 0", "begin 1"], None: ["begin 0", "begin 1"]}


def counting(result: Path) -> Callable[[int], None]:
    def work(rank: int) -> None:
        """One of two ranks, whose role's weights lie on both; it counts what they tell each other in each way."""
        place = Place.of(os.environ)
        with (
            Stopping() as stopping,
            joined(place, os.environ, stopping, Layout(1, 2), timeout=60, gpu=False) as ranks,
        ):
            assert ranks.mesh is not None
            told = []
            for passes in (2, None):
                role = guide(passes)
                shard(role.modules["net"], ranks.mesh)
                role.among = ranks
                with CommDebugMode() as comm:
                    velocity = flow.guided_velocity(role, NOISY, TIMES, TEXT, 3.0)
                told.append((comm.get_total_counts(), velocity))
            if rank == 0:
                torch.save(told, result)

    return work


def test_weights_in_parts_are_gathered_once_where_they_were_twice(tmp_path: Path) -> None:
    for ended in launched(2, counting(tmp_path / "told.pt"), tmp_path).ended():
        assert ended.status == 0, ended.err
    (twice, separate), (once, together) = torch.load(tmp_path / "told.pt")
    assert twice == 2 * once > 0
    torch.testing.assert_close(together, separate, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        together, flow.guided_velocity(guide(None), NOISY, TIMES, TEXT, 3.0), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    ("placement", "told", "rows"), [("device", 0, {1, 2}), ("cpu", 1, {2, 3, 4})], ids=["device", "cpu"]
)
def test_a_run_guides_a_teacher_in_host_memory_at_once_and_tells_it_in_one_note(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, placement: str, told: int, rows: set[int]
) -> None:
    """Two samples a pass, and in one pass of both sides as many more as are guided."""
    asked: list[int] = []
    original = ToyAdapter.predict

    def counted(self: ToyAdapter, modules: Any, noisy: Tensor, *more: Any) -> Prediction:
        if not any(parameter.requires_grad for parameter in modules["denoiser"].parameters()):
            asked.append(len(noisy))
        return original(self, modules, noisy, *more)

    monkeypatch.setattr(ToyAdapter, "predict", counted)
    run = sound(world, teacher={"placement": placement})
    run["training"]["max_train_steps"] = 10
    run["method_config"] = {"guidance_range": [0.0, 500.0], "generator_update_interval": 1}
    events = world.train(run).events.read_text()
    said = (
        "both sides of the guidance of role 'teacher' are predicted in one pass, as its weights come from host memory"
    )
    assert events.count(said) == told
    assert set(asked) == rows
    assert (len(asked) == 10) == bool(told)


@pytest.mark.parametrize(
    ("options", "noted"),
    [
        ({"guidance_scale": 1.0}, True),
        ({"guidance_scale": 1.0, "low_noise_guidance_scale": 3.0}, False),
        ({"guidance_scale": 3.0, "low_noise_guidance_scale": 1.0}, False),
    ],
    ids=["of nothing", "of one expert", "of the other"],
)
def test_passes_of_no_guidance_are_noted(world: ToyWorld, options: dict[str, float], noted: bool) -> None:
    run = sound(world, teacher={"guidance_passes": 1})
    run["method_config"] = options
    said = "roles.teacher.guidance_passes has no effect: method_config guides teacher by a scale of 1"
    assert (said in notes_of(world.resolved(run))) == noted


@pytest.mark.parametrize("lacks", [False, True])
def test_passes_that_mean_nothing_are_refused(world: ToyWorld, lacks: bool) -> None:
    run = sound(world, student={"guidance_passes": 2}, teacher={"guidance_passes": 1})
    family = replace(TOY, operations=TOY.operations - {"unconditional_where"}) if lacks else TOY
    index = PluginIndex.of([family], methods(), INDEX.metrics.values())
    path = world.root / "run.yaml"
    path.write_text(write_yaml(run), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        open_run(path, (), index)
    found = {problem.key: problem.message for problem in caught.value.problems}
    assert found.pop("roles.student.guidance_passes") == "method 'dmd2' does not guide this role; remove it"
    assert found == (
        {
            "roles.teacher.guidance_passes": "model 'toy' offers no unconditional_where, so its two sides take two passes; remove it"
        }
        if lacks
        else {}
    )


def test_a_family_that_cannot_mix_the_sides_goes_on_with_two_passes(world: ToyWorld) -> None:
    family = replace(TOY, operations=TOY.operations - {"unconditional_where"})
    index = PluginIndex.of([family], methods(), INDEX.metrics.values())
    path = world.root / "run.yaml"
    path.write_text(write_yaml(sound(world, teacher={"placement": "cpu"})), encoding="utf-8")
    assert guidance_passes_of(open_run(path, (), index), "teacher") == 2
    asked_for = open_run(path, ("roles.teacher.guidance_passes=2",), index)
    assert guidance_passes_of(asked_for, "teacher") == 2
    assert guidance_passes_of(world.resolved(sound(world, teacher={"placement": "cpu"})), "teacher") is None
