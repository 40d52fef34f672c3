"""Video sparse attention in a Wan role: gates from their folder, a frozen call, no leak between roles, and the way into an export."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.wan.conftest import MakeModel, MakeRole, encoded
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_core.protocols import Ask, ModelRequest, ValidationRequest
from distill_core.training.roles import RoleHandle
from distill_diffusers.sparse.gates import gate_names
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import WanFolder, inspect
from distill_model_wan.model import WanModel

Draw = Callable[..., Tensor]
SHAPE = (5, 16, 12, 20)
"""5 × 6 × 10 tokens: 2 × 2 × 3 cubes, those at the far edges cut."""
VSA = ("vsa",)


def at(timestep: float, size: int = 1) -> Tensor:
    return torch.full((size,), timestep, dtype=torch.float64)


def open_gates(role: RoleHandle, seed: int = 0) -> None:
    """Give the gates values, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in role.container.named_parameters():
            if "to_gate_compress" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def gates_of(role: RoleHandle) -> dict[str, Tensor]:
    return {
        name.removeprefix("transformer."): parameter.detach()
        for name, parameter in role.container.named_parameters()
        if "to_gate_compress" in name
    }


def test_a_fresh_sparse_role_that_leaves_nothing_out_predicts_what_a_dense_one_does(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    model = make_model()
    text = encoded(model.adapter, ["a cat"])
    dense = make_role(model).predict_velocity(noise(1, *SHAPE), at(700.0), text)
    role = make_role(model, attention=VSA)
    for kind in ("vsa", "dense"):
        torch.testing.assert_close(
            role.predict_velocity(noise(1, *SHAPE), at(700.0), text, Ask(kind)), dense, atol=1e-6, rtol=0
        )
    sparse = role.predict_velocity(noise(1, *SHAPE), at(700.0), text, Ask("vsa", 0.8))
    assert (sparse - dense).abs().max() > 1e-4


def test_both_experts_attend_sparsely_each_with_gates_of_its_own(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    model = make_model("a14b")
    role = make_role(model, "a14b", attention=VSA)
    open_gates(role)
    text = encoded(model.adapter, ["a cat", "a dog"])
    x, t = noise(2, *SHAPE), torch.cat([at(950.0), at(100.0)])
    together = role.predict_velocity(x, t, text, Ask("vsa", 0.7))
    for index in range(2):
        own = encoded(model.adapter, [("a cat", "a dog")[index]])
        alone = role.predict_velocity(x[index : index + 1], t[index : index + 1], own, Ask("vsa", 0.7))
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=0)


def test_in_bf16_the_prediction_is_that_of_fp32_to_the_precision_of_bf16(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        model = make_model(dtype=dtype)
        role = make_role(model, attention=VSA)
        open_gates(role)
        text = encoded(model.adapter, ["a cat"])
        # Nothing is left out, for a near tie that rounds the other way would select another cube.
        found.append(role.predict_velocity(noise(1, *SHAPE), at(700.0), text, Ask("vsa")))
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(found[1], found[0], atol=0.05, rtol=0.02)


def test_the_gates_learn_from_the_first_step_and_every_other_weight_too(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    model = make_model()
    role = make_role(model, attention=VSA)
    text = encoded(model.adapter, ["a cat"])
    role.predict_velocity(noise(1, *SHAPE), at(700.0), text, Ask("vsa", 0.5)).square().sum().backward()
    assert len(gates_of(role)) == 4
    assert all(p.grad is not None and p.grad.any() for p in role.trained_parameters().values())


def test_a_repetition_in_backward_has_the_sparsity_of_its_own_call(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    model = make_model()
    text = encoded(model.adapter, ["a cat"])

    def gradients(role: RoleHandle, *, disturbed: bool) -> list[Tensor]:
        open_gates(role)
        role.sparsity = 0.6
        velocity = role.predict_velocity(noise(1, *SHAPE), at(700.0), text, Ask("vsa"))
        if disturbed:  # what another step, another role and a validation do before the backward pass
            role.sparsity = 0.1
            role.predict_velocity(noise(1, *SHAPE, seed=1), at(20.0), text)
            role.predict_velocity(noise(1, 4, 16, 8, 8), at(20.0), text, Ask("vsa", 0.9))
        return list(torch.autograd.grad(velocity.square().sum(), list(role.trained_parameters().values())))

    plain = gradients(make_role(model, attention=VSA), disturbed=False)
    repeated = gradients(make_role(model, attention=VSA, gradient_checkpointing=True), disturbed=True)
    for one, other in zip(plain, repeated, strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5)


def test_sparse_and_dense_roles_of_one_run_do_not_touch_each_other(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    model = make_model()
    text = encoded(model.adapter, ["a cat"])
    teacher, student = make_role(model, trainable=False), make_role(model, attention=VSA)
    before = teacher.predict_x0(noise(1, *SHAPE), at(500.0), text)
    student.sparsity = 0.9
    student.predict_x0(noise(1, *SHAPE), at(500.0), text, Ask("vsa"))
    assert torch.equal(teacher.predict_x0(noise(1, *SHAPE), at(500.0), text), before)
    assert not gates_of(teacher)


def test_a_copy_of_a_sparse_transformer_has_gates_of_its_own(make_model: MakeModel, make_role: MakeRole) -> None:
    role = make_role(make_model(), attention=VSA)
    twin = copy.deepcopy(role.modules["transformer"])
    open_gates(role)
    blocks: Any = twin.get_submodule("blocks")
    for block in blocks:
        gate = block.get_submodule("to_gate_compress")
        assert not gate.get_parameter("weight").any()
        assert block.attn1.processor.gate is gate


def with_gates(source: Path, folder: Path, names: list[str]) -> Path:
    """A copy of a pipeline whose weights hold some gates."""
    shutil.copytree(source, folder)
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    width = 24
    gates = {name: torch.full((width, width) if name.endswith("weight") else (width,), 0.25) for name in names}
    save_file({**load_file(file), **gates}, file, metadata={"format": "pt"})
    return folder


def load(folder: Path, attention: tuple[str, ...], heard: list[str]) -> RoleHandle:
    facts = inspect(str(folder))
    model = WanModel(facts, WanOptions(), torch.device("cpu"), torch.float32)
    request = ModelRequest(facts, True, torch.float32, attention=attention, tell=heard.append)
    return RoleHandle("student", model.load_modules(request), model.adapter, trainable=True)


def test_gates_are_read_from_a_folder_that_has_them(pipelines: dict[str, Path], tmp_path: Path) -> None:
    heard: list[str] = []
    role = load(with_gates(pipelines["t2v"], tmp_path / "gated", gate_names(2)), VSA, heard)
    assert all((gate == 0.25).all() for gate in gates_of(role).values())
    assert heard == ["video sparse attention by plain torch, by gathering (vsa_engine: torch)"]


def test_a_role_that_attends_densely_says_that_it_leaves_gates_out(pipelines: dict[str, Path], tmp_path: Path) -> None:
    heard: list[str] = []
    assert not gates_of(load(with_gates(pipelines["t2v"], tmp_path / "gated", gate_names(2)), ("dense",), heard))
    assert len(heard) == 1
    assert "was trained with video sparse attention; this role attends densely, without its gates" in heard[0]


def test_a_part_of_the_gates_is_refused(pipelines: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        ModelFolderError, match=r"hold 2 tensors of vsa gates and lack blocks.1.to_gate_compress.weight"
    ):
        load(with_gates(pipelines["t2v"], tmp_path / "gated", gate_names(1)), VSA, [])


def test_an_export_carries_gates_sparsity_and_cube_and_says_what_diffusers_does(
    make_model: MakeModel, make_role: MakeRole, noise: Draw, tmp_path: Path, folders: dict[str, WanFolder]
) -> None:
    model = make_model()
    role = make_role(model, attention=VSA)
    open_gates(role)
    sampling = ValidationRequest(
        "student", "sde", timesteps=(1000.0,), guidance_scale=1.0, attn_kind="vsa", sparsity=0.7
    )
    output = tmp_path / "export"
    model.export(role.modules, folders["t2v"], sampling, SHAPE, output, torch.float32)
    facts = inspect(str(output))
    assert facts.sampling is not None
    assert (facts.sampling.attn_kind, facts.sampling.sparsity) == ("vsa", 0.7)
    again = load(output, VSA, [])
    text = encoded(model.adapter, ["a cat"])
    one, other = (each.predict_velocity(noise(1, *SHAPE), at(700.0), text, Ask("vsa", 0.7)) for each in (role, again))
    assert torch.equal(one, other)
    card = (output / "README.md").read_text()
    assert "video sparse attention" in card
    assert "distill sample" in card
