"""Every method that the toy family can be trained by, stopped after each of its steps: ``pytest -m nightly -n 0 -s`` prints the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console
from tests.core.conftest import ToyWorld
from tests.core.kills import state_of
from tests.core.small_methods import SMALL
from tests.core.test_rewards import GLOW

from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.errors import DistillError
from distill_core.plugins.discovery import discover
from distill_core.plugins.fit import fit
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import MethodSpec
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing.toy_spec import TOY

STEPS = 12
OPTIONS: Mapping[str, object] = {
    "generator_update_interval": 2,
    "rollout_move": "ode",
    "consistency_steps": 2,
    "block": 1,
    "overlap": 1,
    "max_frames": 9,
}
"""Of the methods that have them: so that every kind of step comes up in twelve, and several blocks in the toy's three frames."""


@dataclass(frozen=True)
class Kind:
    """A way to run a method.

    Attributes:
        name: as the table has it.
        sections: of run.yaml.
        lora: whether trained roles are LoRAs.
    """

    name: str
    sections: Mapping[str, Mapping[str, Any]]
    lora: bool = False


KINDS = (
    Kind("all weights, EMA", {"training": {"lr_scheduler": "cosine"}}),
    Kind(
        "accumulation, workers, async",
        {
            "training": {"gradient_accumulation_steps": 2},
            "data": {"num_workers": 2},
            "checkpoint": {"mode": "async"},
        },
    ),
    Kind("LoRA", {"training": {"lr_warmup_steps": 3, "lr_scheduler": "constant_with_warmup"}}, lora=True),
)


def methods() -> dict[str, MethodSpec]:
    """Those that are installed, and one of a follower and a head."""
    installed = {name: spec for name, spec in discover().methods.items() if fit(spec, TOY).works}
    return dict(sorted({**installed, SMALL.name: SMALL}.items()))


def mapping_of(world: ToyWorld, method: MethodSpec, kind: Kind) -> dict[str, Any]:
    """A run of the method, saved at every step."""
    chosen: dict[str, object] = {}
    for name in [name for name in OPTIONS if name in method.options.model_fields]:
        try:
            method.options.model_validate({**chosen, name: OPTIONS[name]})
        except ValidationError:
            continue
        chosen[name] = OPTIONS[name]
    demands = method.demands(method.options.model_validate(chosen))
    needs = method.needs(demands)
    roles: dict[str, Any] = {}
    for name, need in needs.items():
        if need.sourceless or need.optional:
            continue
        roles[name] = {
            "path": str(world.root / ("teacher" if not need.trainable else "student")),
            "trainable": need.trainable,
        }
        if need.trainable:
            roles[name] |= {"lora": {"rank": 2}} if kind.lora else {"ema": {"decay": 0.9, "start_step": 3}}
    run = world.mapping("finetune", training={"max_train_steps": STEPS}, validation={"interval": None})
    run |= {"recipe": {"family": "toy", "method": method.name}, "roles": roles, "method_config": chosen}
    run["checkpoint"] = {"interval": 1, "keep_last": 99}
    if demands.rewards != "none":
        run["rewards"] = {GLOW.name: {}}
    for name, section in kind.sections.items():
        run[name] = {**run.get(name, {}), **section}
    return run


def go(world: ToyWorld, run: Mapping[str, Any], index: PluginIndex, until: int | None) -> dict[str, str]:
    """Train it up to a step; what is saved then, by step."""
    path = world.root / "run.yaml"
    path.write_text(write_yaml(run), encoding="utf-8")
    prepared = replace(prepare(open_run(path, (), index)), until=until)
    directory = RunDirectory(Path(run["output_dir"]))
    train(prepared, directory, [], Console(quiet=True))
    return {each.name: state_of(each) for each in directory.checkpoints.glob("step-*")}


def verdict(folder: Path, method: MethodSpec, kind: Kind) -> str:
    """ "exact", the first step that differs, or why the toy family is refused."""
    index = PluginIndex.of(models=[TOY], methods=[method], rewards=[GLOW])
    whole, cut = ToyWorld(folder / "whole"), ToyWorld(folder / "cut")
    try:
        right = go(whole, mapping_of(whole, method, kind), index, None)
    except DistillError as error:
        return f"refused: {str(error).splitlines()[0][-110:]}"
    for step in range(1, STEPS + 1):
        found = go(cut, mapping_of(cut, method, kind), index, step)
        name = f"step-{step:08d}"
        if found[name] != right[name]:
            return f"differs at step {step}"
    return "exact"


@pytest.mark.nightly
def test_every_method_resumes_exactly_from_each_of_its_steps(tmp_path: Path) -> None:
    found: dict[tuple[str, str], str] = {}
    for name, method in methods().items():
        for kind in KINDS:
            found[name, kind.name] = verdict(tmp_path / name / kind.name, method, kind)
            print(f"{name:24}{kind.name:32}{found[name, kind.name]}", flush=True)
    assert not [each for each, said in found.items() if said.startswith("differs")]
    for name in ("finetune", "dmd2", SMALL.name):
        assert found[name, KINDS[0].name] == "exact"


@pytest.mark.slow
def test_a_run_is_exact_from_each_step_by_what_the_table_compares(tmp_path: Path) -> None:
    """The table itself, on its quickest row."""
    assert verdict(tmp_path, methods()["finetune"], replace(KINDS[1], sections={"training": {}})) == "exact"
