"""Whole runs of roles that train LoRAs: what their checkpoints hold, how they go on, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.conftest import INDEX, ToyWorld
from tests.core.small_methods import SMALL
from torch import Tensor, nn

from distill_core.checkpoint import Checkpoint
from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.errors import CheckpointError
from distill_core.finished.restore import restore_role
from distill_core.finished.verify import verify_run
from distill_core.plugins.index import PluginIndex
from distill_core.running.preparation import Placement, prepare
from distill_core.running.roles import RoleBuilder, build_models
from distill_core.running.run_directory import RunDirectory
from distill_core.testing.toy_lora import ToyLoraFiles
from distill_core.testing.toy_spec import TOY, inspect
from distill_core.training.roles import RoleHandle

LORA = {"rank": 2, "targets": ["attention+mlp"]}
CPU = Placement(torch.device("cpu"), torch.float32)


def shared(world: ToyWorld, **student: Any) -> dict[str, Any]:
    """A DMD2 run whose three roles have one set of weights."""
    path = str(world.root / "teacher")
    return world.mapping(
        "dmd2",
        roles={
            "student": {"path": path, "lora": LORA, **student},
            "teacher": {"base": "student", "trainable": False},
            "critic": {"base": "teacher", "lora": LORA},
        },
    )


def tensors_of(directory: RunDirectory, step: int) -> dict[str, Tensor]:
    checkpoint = Checkpoint(directory.checkpoints / f"step-{step:08d}", step)
    tensors = {name: torch.empty(shape) for name, shape in checkpoint.state()["tensors"].items()}
    checkpoint.load(tensors)
    return tensors


def built(
    world: ToyWorld, mapping: Mapping[str, Any], *overrides: str, index: PluginIndex = INDEX
) -> dict[str, RoleHandle]:
    path = world.root / "built.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    prepared = prepare(open_run(path, overrides, index))
    models = build_models(prepared.run, prepared.placement)
    return RoleBuilder(prepared.run, models, prepared.placement, prepared.latent_shape, lambda _: None).build()


def test_roles_of_one_folder_have_one_set_of_weights(world: ToyWorld) -> None:
    roles = built(world, shared(world))
    assert len({id(role.container) for role in roles.values()}) == 1
    assert roles["student"].lora is not roles["critic"].lora
    assert roles["teacher"].worn == ()


def test_frozen_and_lora_roles_of_one_path_share_it_unasked_and_a_full_one_does_not(world: ToyWorld) -> None:
    path = str(world.root / "teacher")
    roles = {
        "student": {"path": path, "lora": {}},
        "teacher": {"path": path, "trainable": False},
        "critic": {"path": path},
    }
    found = built(world, world.mapping("dmd2", roles=roles))
    assert found["student"].container is found["teacher"].container
    assert found["critic"].container is not found["teacher"].container
    assert found["critic"].trained_parameters().keys() == found["critic"].container.state_dict().keys()


def test_a_checkpoint_holds_the_loras_and_the_hash_of_what_is_under_them(world: ToyWorld) -> None:
    directory = world.train(shared(world, ema={"decay": 0.5}))
    checkpoint = Checkpoint(directory.checkpoints / "step-00000012", 12)
    names = checkpoint.state()["tensors"]
    assert {name.split(".")[1] for name in names} == {"student", "critic"}
    assert all(".lora_A.weight" in name or ".lora_B.weight" in name for name in names)
    assert any(name.startswith("roles.student.average.") for name in names)
    rests_on = checkpoint.manifest().identity.rests_on
    hashes = {rests_on[f"weights.{role}"] for role in ("student", "teacher", "critic")}
    assert len(hashes) == 1


@pytest.mark.parametrize("ema", [None, {"decay": 0.5}])
def test_a_run_that_is_stopped_goes_on_bitwise(tmp_path: Path, ema: dict[str, float] | None) -> None:
    whole, cut = ToyWorld(tmp_path / "whole"), ToyWorld(tmp_path / "cut")
    both = ("training.gradient_accumulation_steps=2", "roles.student.lora.dropout=0.5")
    through = tensors_of(whole.train(shared(whole, ema=ema), *both), 12)
    cut.train(shared(cut, ema=ema), *both, "training.max_train_steps=6")
    again = tensors_of(cut.train(shared(cut, ema=ema), *both), 12)
    assert through.keys() == again.keys()
    assert all(tensor.equal(again[name]) for name, tensor in through.items())
    assert all(through[name].any() for name in through if name.endswith("lora_B.weight"))


def test_a_run_that_goes_on_under_other_weights_is_refused_by_name(world: ToyWorld) -> None:
    world.train(shared(world), "training.max_train_steps=6")
    (world.root / "teacher" / "toy.json").write_text('{"seed": 7, "channels": 2}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"weights\.student"):
        world.train(shared(world))


def test_a_lora_on_weights_of_its_own_trains_as_on_shared_ones(tmp_path: Path) -> None:
    one, other = ToyWorld(tmp_path / "one"), ToyWorld(tmp_path / "other")
    together = tensors_of(one.train(shared(one)), 12)
    mapping = shared(other)
    for number, role in enumerate(("teacher", "critic")):
        copied = other.root / f"copy{number}"
        copied.mkdir()
        (copied / "toy.json").write_bytes((other.root / "teacher" / "toy.json").read_bytes())
        mapping["roles"][role] = {**mapping["roles"][role], "base": None, "path": str(copied)}
    apart = tensors_of(other.train(mapping), 12)
    assert together.keys() == apart.keys()
    assert all(tensor.equal(apart[name]) for name, tensor in together.items())


def test_what_a_run_rests_on_is_verified(world: ToyWorld) -> None:
    directory = world.train(shared(world))
    assert not [found for found in verify_run(directory.root, INDEX, lambda _: None) if found.fault is not None]
    (world.root / "teacher" / "toy.json").write_text('{"seed": 7, "channels": 2}', encoding="utf-8")
    wrong = {found.name for found in verify_run(directory.root, INDEX, lambda _: None) if found.fault is not None}
    assert {"weights.student", "weights.teacher", "weights.critic"} <= wrong


def test_finetune_trains_a_lora_and_its_average_is_brought_back(world: ToyWorld) -> None:
    mapping = world.mapping("finetune")
    mapping["roles"]["student"] |= {"lora": LORA, "ema": {"decay": 0.5}}
    directory = world.train(mapping)
    tensors = tensors_of(directory, 12)
    for averaged, kind in ((True, "average"), (False, "modules")):
        restored = restore_role(directory.root, INDEX, None, step=None, averaged=averaged, placement=CPU)
        assert restored.role.lora is not None
        for name, tensor in restored.role.lora.state_dict().items():
            assert tensor.equal(tensors[f"roles.student.{kind}.{name}"])
        assert not any(
            parameter.requires_grad
            for part in (restored.role.container, restored.role.own)
            for parameter in part.parameters()
        )


def test_a_follower_of_a_lora_role_is_a_lora_on_the_same_weights(world: ToyWorld) -> None:
    mapping = world.mapping("finetune", validation={"interval": None})
    mapping["recipe"]["method"] = "small"
    mapping["roles"]["student"]["lora"] = LORA
    roles = built(world, mapping, index=PluginIndex.of(models=[TOY], methods=[SMALL]))
    student, target = roles["student"], roles["target"]
    assert target.container is student.container
    assert target.lora is not student.lora
    assert target.state_tensors().keys() == student.state_tensors().keys()
    assert all(tensor.equal(student.state_tensors()[name]) for name, tensor in target.state_tensors().items())
    with torch.no_grad():
        for parameter in student.trained_parameters().values():
            parameter.add_(1.0)
    target.follow(student, keep=0.5)
    for name, tensor in target.state_tensors().items():
        torch.testing.assert_close(tensor, student.state_tensors()[name] - 0.5)


def lora_file(world: ToyWorld) -> Path:
    """The LoRA that a finetune run has trained, as a file."""
    mapping = world.mapping("finetune")
    mapping["roles"]["student"]["lora"] = LORA
    mapping["output_dir"] = str(world.root / "style run")
    restored = restore_role(world.train(mapping).root, INDEX, None, step=None, averaged=True, placement=CPU)
    from distill_core.running.loras import updates_of

    assert restored.role.lora is not None
    ToyLoraFiles().write(
        updates_of(restored.role.lora),
        restored.facts,
        restored.sampling,
        restored.latent_shape,
        world.root / "style",
        torch.float32,
    )
    return world.root / "style"


def test_a_role_wears_a_fixed_lora_under_its_own_and_a_frozen_one_may_too(world: ToyWorld) -> None:
    style = {"path": str(lora_file(world)), "scale": 0.5}
    mapping = shared(world, fixed_loras=[style])
    mapping["roles"]["teacher"]["fixed_loras"] = [style]
    roles = built(world, mapping)
    assert [len(roles[name].worn) for name in ("student", "teacher", "critic")] == [2, 1, 1]
    assert roles["student"].container is roles["teacher"].container
    assert not any(parameter.requires_grad for parameter in roles["student"].worn[0].parameters())
    directory = world.train(mapping)
    checkpoint = Checkpoint(directory.checkpoints / "step-00000012", 12)
    assert not any("fixed" in name for name in checkpoint.state()["tensors"])
    rests_on = checkpoint.manifest().identity.rests_on
    assert rests_on["weights.student"] == rests_on["weights.teacher"] != rests_on["weights.critic"]


def test_a_role_starts_from_the_lora_of_another_run(world: ToyWorld) -> None:
    first = world.train({**shared(world), "output_dir": str(world.root / "first")})
    mapping = shared(world, checkpoint={"run": str(first.root), "averaged": False})
    roles = built(world, mapping)
    assert roles["student"].container is roles["teacher"].container, (
        "a LoRA's checkpoint leaves the weights under it alone"
    )
    held = tensors_of(first, 12)
    for name, tensor in roles["student"].state_tensors().items():
        assert tensor.equal(held[f"roles.student.modules.{name}"])


def test_a_lora_is_trained_on_all_the_weights_of_another_run(world: ToyWorld) -> None:
    mapping = world.mapping("finetune")
    mapping["output_dir"] = str(world.root / "first")
    first = world.train(mapping)
    mapping = world.mapping("finetune")
    mapping["roles"]["student"] |= {"lora": LORA, "checkpoint": {"run": str(first.root)}}
    student = built(world, mapping)["student"]
    held = tensors_of(first, 12)
    for name, tensor in student.container.state_dict().items():
        assert tensor.equal(held[f"roles.student.modules.{name}"])
    assert not any(parameter.requires_grad for parameter in student.container.parameters())
    again = restore_role(world.train(mapping).root, INDEX, None, step=None, averaged=True, placement=CPU)
    for name, tensor in again.role.container.state_dict().items():
        assert tensor.equal(held[f"roles.student.modules.{name}"])


def test_a_role_without_a_lora_cannot_start_from_one(world: ToyWorld) -> None:
    mapping = world.mapping("finetune")
    mapping["roles"]["student"]["lora"] = LORA
    mapping["output_dir"] = str(world.root / "first")
    first = world.train(mapping)
    mapping = world.mapping("finetune")
    mapping["roles"]["student"]["checkpoint"] = {"run": str(first.root)}
    with pytest.raises(CheckpointError, match="holds a LoRA of 'student', and this role has none"):
        built(world, mapping)


def test_sixteen_bit_weights_carry_a_float32_lora(world: ToyWorld) -> None:
    roles = built(world, shared(world), "training.precision=bf16")
    assert {parameter.dtype for parameter in roles["student"].container.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in roles["student"].trained_parameters().values()} == {torch.float32}
    assert isinstance(roles["student"].container, nn.ModuleDict)
    assert inspect(str(world.root / "teacher")).path == world.root / "teacher"
