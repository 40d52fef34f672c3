"""LoRAs on Wan: roles on one set of frozen transformers, and files that diffusers and peft read and write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from tests.wan.conftest import MakeModel, encoded
from torch import Tensor, nn

from distill_core.errors import ModelFolderError
from distill_core.plugins.lora import chosen_layers
from distill_core.protocols import ModelRequest, ValidationRequest
from distill_core.running.loras import loaded_lora, updates_of
from distill_core.training.lora import LoraWeights, Rank, linear_layers
from distill_core.training.roles import RoleHandle
from distill_diffusers.lora_files import DiffusersLora
from distill_diffusers.lora_layers import linear_layers as stored_layers
from distill_model_wan.folder import WanFolder
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

Folders = dict[Variant, WanFolder]
SUPPORT_SETS = {"attention": 16, "attention+mlp": 20, "all-linear": 26}
FEW = ValidationRequest("student", "sde", timesteps=(1000.0, 500.0), guidance_scale=1.0)
T_B = torch.tensor([950.0, 400.0], dtype=torch.float64)
"""A sample for each of two experts."""


def lora_on(modules: dict[str, nn.Module], name: str, layers: list[str] | None = None) -> LoraWeights:
    """A LoRA that makes a difference."""
    lora = LoraWeights(modules, dict.fromkeys(linear_layers(modules) if layers is None else layers, Rank(2, 0.5)))
    lora.initialize(0, name, "uniform")
    with torch.no_grad():
        for pair in lora.pairs.values():
            pair.lora_B.weight.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
    return lora


class Shared:
    """Teacher, student and critic on one set of transformers, and the untouched model by itself."""

    def __init__(self, model: WanModel, facts: WanFolder, dtype: torch.dtype, *, recompute: bool) -> None:
        self.model = model
        request = ModelRequest(facts, trainable=False, weights_dtype=dtype, gradient_checkpointing=recompute)
        self.untouched = RoleHandle("alone", model.load_modules(request), model.adapter, trainable=False)
        self.base = nn.ModuleDict(model.load_modules(request))
        self.teacher = RoleHandle("teacher", self.base, model.adapter, trainable=False)
        self.student, self.critic = self.role("student"), self.role("critic")
        self.text = encoded(model.adapter, ["a cat", "a blue dog"])
        self.noisy = torch.randn(2, 2, 16, 4, 4, generator=torch.Generator().manual_seed(1))

    def role(self, name: str) -> RoleHandle:
        lora = lora_on(dict(self.base.items()), name)
        return RoleHandle(name, self.base, self.model.adapter, trainable=True, lora=lora)

    def velocity(self, role: RoleHandle) -> Tensor:
        return role.predict_velocity(self.noisy, T_B, self.text)

    def gradients(self, *passing: RoleHandle, times: int = 1) -> dict[str, Tensor]:
        """Of the student's loss, where ``passing`` predict between its forward and its backward pass."""
        for _ in range(times):
            loss = self.velocity(self.student).square().mean()
            for role in passing:
                self.velocity(role)
            loss.backward()
        found = {name: p.grad for name, p in self.student.trained_parameters().items() if p.grad is not None}
        self.student.own.zero_grad(set_to_none=True)
        return found


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_roles_on_one_set_of_experts_do_not_see_each_other(
    make_model: MakeModel, folders: Folders, dtype: torch.dtype, recompute: bool
) -> None:
    shared = Shared(make_model("a14b", dtype), folders["a14b"], dtype, recompute=recompute)
    alone = shared.velocity(shared.untouched)
    assert not shared.velocity(shared.student).equal(alone)
    assert shared.velocity(shared.teacher).equal(alone)
    assert not shared.velocity(shared.teacher).requires_grad
    by_itself = shared.gradients(times=2)
    assert by_itself.keys() == shared.student.trained_parameters().keys()
    assert {name.partition(".")[0] for name in by_itself} == {"transformer", "transformer_2"}
    among_others = shared.gradients(shared.critic, shared.teacher, times=2)
    assert all(gradient.any() and gradient.equal(among_others[name]) for name, gradient in by_itself.items())
    assert not any(p.grad is not None for part in (shared.base, shared.critic.own) for p in part.parameters())


def test_recomputation_gives_the_gradients_that_keeping_activations_does(
    make_model: MakeModel, folders: Folders
) -> None:
    kept, again = (
        Shared(make_model("a14b"), folders["a14b"], torch.float32, recompute=recompute) for recompute in (False, True)
    )
    one, other = kept.gradients(kept.critic), again.gradients(again.critic)
    assert all(gradient.equal(other[name]) for name, gradient in one.items())


@pytest.mark.parametrize("name", SUPPORT_SETS)
def test_sets_of_layers_are_known_before_weights_are_loaded_and_are_those_that_are_loaded(
    make_model: MakeModel, folders: Folders, name: str
) -> None:
    from distill_core.plugins import ModelSpec
    from distill_core.plugins.registry import Registry
    from distill_model_wan import plugin

    registry: Registry[ModelSpec] = Registry(ModelSpec)
    plugin.distill_register_models(registry)
    (spec,) = registry.specs
    request = ModelRequest(folders["t2v"], trainable=False, weights_dtype=torch.float32)
    loaded = list(linear_layers(dict(make_model().load_modules(request))))
    before = stored_layers(folders["t2v"])
    assert before is not None
    assert sorted(before) == sorted(loaded)
    chosen = chosen_layers(spec.lora, (name,), loaded)
    assert not isinstance(chosen, str)
    assert len(chosen) == SUPPORT_SETS[name]


def test_layers_that_a_role_has_anew_are_trained_whatever_the_targets(make_model: MakeModel, folders: Folders) -> None:
    request = ModelRequest(
        folders["t2v"], False, torch.float32, attention=("dense", "vsa"), operations=frozenset({"until"})
    )
    names = list(linear_layers(dict(make_model().load_modules(request))))
    from distill_diffusers.lora_layers import lora_support

    chosen = chosen_layers(
        lora_support(fresh=("*.to_gate_compress", "*.second.linear_*")), ("blocks.0.attn1.to_q",), names
    )
    assert chosen == [
        "transformer.condition_embedder.time_embedder.second.linear_1",
        "transformer.condition_embedder.time_embedder.second.linear_2",
        "transformer.blocks.0.attn1.to_q",
        "transformer.blocks.0.to_gate_compress",
        "transformer.blocks.1.to_gate_compress",
    ]


@pytest.fixture
def student(make_model: MakeModel, folders: Folders) -> Callable[[Variant], Shared]:
    """``student("t2v")``: the roles on a set of transformers."""
    return lambda variant: Shared(make_model(variant), folders[variant], torch.float32, recompute=False)


@pytest.mark.parametrize("variant", ["t2v", "a14b"])
def test_a_written_lora_is_loaded_by_the_pipeline_and_read_back(
    student: Callable[[Variant], Shared],
    folders: Folders,
    pipelines: dict[Variant, Path],
    tmp_path: Path,
    variant: Variant,
) -> None:
    shared = student(variant)
    assert shared.student.lora is not None
    updates, facts = updates_of(shared.student.lora), folders[variant]
    DiffusersLora().write(updates, facts, FEW, (2, 16, 4, 4), tmp_path / "lora", torch.float32)
    card = (tmp_path / "lora" / "README.md").read_text()
    assert f'WanPipeline.from_pretrained("{pipelines[variant].resolve()}")' in card
    assert f"# A LoRA of {pipelines[variant].name}\n" in card
    ours = {name: shared.velocity(role) for name, role in (("with", shared.student), ("without", shared.teacher))}

    pipeline = WanPipeline.from_pretrained(pipelines[variant])
    pipeline.load_lora_weights(tmp_path / "lora", weight_name="pytorch_lora_weights.safetensors", adapter_name="high")
    if variant == "a14b":
        pipeline.load_lora_weights(
            tmp_path / "lora",
            weight_name="pytorch_lora_weights_2.safetensors",
            adapter_name="low",
            load_into_transformer_2=True,
        )
    rows = {"transformer": [0], "transformer_2": [1]} if variant == "a14b" else {"transformer": [0, 1]}
    embeds = torch.zeros(2, 512, shared.text.embeds_BLD.shape[2])
    embeds[:, : shared.text.embeds_BLD.shape[1]] = shared.text.embeds_BLD
    for part, own in rows.items():
        theirs = getattr(pipeline, part)(
            shared.noisy[own].transpose(1, 2), T_B[own].float(), embeds[own], return_dict=False
        )[0].transpose(1, 2)
        assert (theirs - ours["with"][own]).abs().max() < 2e-5
        assert (theirs - ours["without"][own]).abs().max() > 1e-3

    again = DiffusersLora().read(tmp_path / "lora", facts)
    assert again.keys() == updates.keys()
    worn = loaded_lora(again, 1.0, dict(shared.base.items()), "lora")
    reader = RoleHandle("reader", shared.base, shared.model.adapter, trainable=False, fixed=(worn,))
    torch.testing.assert_close(shared.velocity(reader), ours["with"])


def test_a_merged_export_predicts_what_the_lora_did(student: Callable[[Variant], Shared], tmp_path: Path) -> None:
    shared = student("t2v")
    worn = shared.velocity(shared.student)
    shared.student.merge()
    shared.model.export(shared.student.modules, shared.model.facts, FEW, (2, 16, 4, 4), tmp_path / "out", torch.float32)
    pipeline = WanPipeline.from_pretrained(tmp_path / "out")
    weights = pipeline.transformer.state_dict()
    held = shared.base["transformer"].state_dict()
    assert all(tensor.equal(held[name]) for name, tensor in weights.items())
    torch.testing.assert_close(shared.velocity(shared.teacher), worn)


def _peft_folder(
    pipelines: dict[Variant, Path], folder: Path, **config: object
) -> tuple[WanPipeline, dict[str, Tensor]]:
    """A LoRA that peft made, saved as peft saves it; the pipeline that wears it."""
    pipeline = WanPipeline.from_pretrained(pipelines["t2v"])
    settings = LoraConfig(r=4, lora_alpha=6, target_modules=["to_q", "to_out.0"], init_lora_weights=False, **config)
    pipeline.transformer.add_adapter(settings, adapter_name="made")
    state = get_peft_model_state_dict(pipeline.transformer, adapter_name="made")
    folder.mkdir()
    save_file(
        {f"base_model.model.{name}": tensor for name, tensor in state.items()}, folder / "adapter_model.safetensors"
    )
    settings.save_pretrained(folder)
    return pipeline, state


@pytest.mark.parametrize("config", [{}, {"use_rslora": True}, {"alpha_pattern": {"to_q": 2}}])
def test_pefts_own_files_are_read_with_their_scale(
    student: Callable[[Variant], Shared],
    folders: Folders,
    pipelines: dict[Variant, Path],
    tmp_path: Path,
    config: dict[str, object],
) -> None:
    shared = student("t2v")
    pipeline, _ = _peft_folder(pipelines, tmp_path / "peft", **config)
    worn = loaded_lora(DiffusersLora().read(tmp_path / "peft", folders["t2v"]), 1.0, dict(shared.base.items()), "peft")
    reader = RoleHandle("reader", shared.base, shared.model.adapter, trainable=False, fixed=(worn,))
    embeds = torch.zeros(2, 512, shared.text.embeds_BLD.shape[2])
    embeds[:, : shared.text.embeds_BLD.shape[1]] = shared.text.embeds_BLD
    theirs = pipeline.transformer(shared.noisy.transpose(1, 2), T_B.float(), embeds, return_dict=False)[0].transpose(
        1, 2
    )
    assert (theirs - shared.velocity(reader)).abs().max() < 2e-5


def test_a_file_that_diffusers_saved_with_its_alpha_is_read_with_it(
    folders: Folders, pipelines: dict[Variant, Path], tmp_path: Path
) -> None:
    pipeline, state = _peft_folder(pipelines, tmp_path / "peft")
    config = pipeline.transformer.peft_config["made"].to_dict()
    WanPipeline.save_lora_weights(
        tmp_path / "out", transformer_lora_layers=state, transformer_lora_adapter_metadata=config
    )
    updates = DiffusersLora().read(tmp_path / "out", folders["t2v"])
    assert {update.scale for update in updates.values()} == {1.5}


def test_other_trainers_files_are_read_by_diffusers_converters(
    student: Callable[[Variant], Shared], folders: Folders, tmp_path: Path
) -> None:
    layer = "transformer.blocks.0.attn1.to_q"
    a, b = torch.randn(2, 24), torch.randn(24, 2)
    name = "diffusion_model.blocks.0.self_attn.q"
    save_file({f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b}, tmp_path / "other.safetensors")
    (found,) = DiffusersLora().read(tmp_path / "other.safetensors", folders["t2v"]).items()
    assert found[0] == layer
    torch.testing.assert_close(found[1].b @ found[1].a * found[1].scale, b @ a)


def test_a_file_of_the_second_expert_is_read_for_it(folders: Folders, tmp_path: Path) -> None:
    name = "transformer.blocks.0.attn1.to_q"
    save_file(
        {f"{name}.lora_A.weight": torch.ones(2, 24), f"{name}.lora_B.weight": torch.ones(24, 2)},
        tmp_path / "low.safetensors",
    )
    assert list(DiffusersLora().read(tmp_path / "low.safetensors", folders["a14b"], "transformer_2")) == [
        f"transformer_2.{name[12:]}"
    ]
    with pytest.raises(ModelFolderError, match="the model has no 'transformer_2'"):
        DiffusersLora().read(tmp_path / "low.safetensors", folders["t2v"], "transformer_2")


def pair(a: tuple[int, ...], b: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """An update of one layer, of these shapes."""
    name = "transformer.blocks.0.attn1.to_q"
    return {f"{name}.lora_A.weight": torch.ones(a), f"{name}.lora_B.weight": torch.ones(b)}


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "more or less than low-rank updates"),
        ({"transformer.blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 24)}, "more or less than low-rank updates"),
        (pair((2, 24, 1), (24, 2, 1)), "no two matrices of one rank"),
        (pair((2, 24), (24, 1)), "no two matrices of one rank"),
        (pair((0, 24), (24, 0)), "no two matrices of one rank"),
        ({"base_model.model.blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 24)}, "adapter_config.json"),
        ({"transformer.blocks.0.attn1.to_q.lora_magnitude_vector": torch.ones(24)}, "is a DoRA"),
    ],
)
def test_a_file_that_is_no_lora_is_refused(
    folders: Folders, tmp_path: Path, tensors: dict[str, Tensor], reason: str
) -> None:
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(ModelFolderError, match=reason):
        DiffusersLora().read(tmp_path / "odd.safetensors", folders["t2v"])


def test_a_damaged_file_and_a_folder_without_one_are_refused(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "odd.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelFolderError, match="is damaged"):
        DiffusersLora().read(tmp_path / "odd.safetensors", folders["t2v"])
    with pytest.raises(ModelFolderError, match=r"holds no \.safetensors files"):
        DiffusersLora().read(folders["t2v"].path, folders["t2v"])


def test_an_update_of_another_model_is_refused(
    student: Callable[[Variant], Shared], folders: Folders, tmp_path: Path
) -> None:
    name = "transformer.blocks.0.attn1.to_q"
    save_file(
        {f"{name}.lora_A.weight": torch.ones(2, 99), f"{name}.lora_B.weight": torch.ones(99, 2)},
        tmp_path / "x.safetensors",
    )
    updates = DiffusersLora().read(tmp_path / "x.safetensors", folders["t2v"])
    with pytest.raises(ModelFolderError, match="it is of another model"):
        loaded_lora(updates, 1.0, dict(student("t2v").base.items()), "x")


def test_a_lora_on_layers_that_diffusers_has_not_is_not_written(
    folders: Folders, make_model: MakeModel, tmp_path: Path
) -> None:
    request = ModelRequest(folders["t2v"], False, torch.float32, attention=("vsa",))
    lora = lora_on(dict(make_model().load_modules(request)), "student", ["transformer.blocks.0.to_gate_compress"])
    with pytest.raises(ModelFolderError, match="to_gate_compress, which diffusers' own model has not"):
        DiffusersLora().write(updates_of(lora), folders["t2v"], FEW, (2, 16, 4, 4), tmp_path / "lora", torch.float32)
    assert not (tmp_path / "lora").exists()


def test_a_written_file_says_how_it_is_sampled(
    student: Callable[[Variant], Shared], folders: Folders, tmp_path: Path
) -> None:
    lora = student("t2v").student.lora
    assert lora is not None
    DiffusersLora().write(updates_of(lora), folders["t2v"], FEW, (2, 16, 4, 4), tmp_path / "lora", torch.bfloat16)
    assert "the timesteps 1000, 500 (sde)" in (tmp_path / "lora" / "README.md").read_text()
    tensors = load_file(tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert json.loads((folders["t2v"].path / "model_index.json").read_text())["_class_name"] == "WanPipeline"
