"""Roles on one set of frozen weights, each with a LoRA of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distill_core.errors import PluginError
from distill_core.plugins.lora import LoraSupport, chosen_layers, matching
from distill_core.protocols.model import ModelRequest
from distill_core.testing.contracts import FAMILY, LATENT_SHAPE, toy_batch
from distill_core.testing.toy import ToyDenoiser, ToyModel
from distill_core.testing.toy_spec import ToyOptions, inspect, write_toy_model
from distill_core.training.lora import LoraWeights, Rank, linear_layers
from distill_core.training.recompute import recomputed
from distill_core.training.roles import RoleHandle

CPU = torch.device("cpu")
T_B = torch.full((3,), 500.0, dtype=torch.float64)


class Shared:
    """A teacher without a LoRA, a student and a critic with one each, and the untouched model by itself."""

    def __init__(self, folder: Path, dropout: float = 0.0) -> None:
        facts = inspect(str(write_toy_model(folder)))
        self.model = ToyModel(facts, ToyOptions(), CPU, torch.float32)
        request = ModelRequest(facts, trainable=False, weights_dtype=torch.float32)
        self.untouched = RoleHandle("alone", self.model.load_modules(request), self.model.adapter, trainable=False)
        self.base = nn.ModuleDict(self.model.load_modules(request))
        self.teacher = RoleHandle("teacher", self.base, self.model.adapter, trainable=False)
        self.student, self.critic = self.role("student", dropout), self.role("critic", dropout)

    def role(self, name: str, dropout: float = 0.0) -> RoleHandle:
        """A role with a LoRA that makes a difference."""
        modules = dict(self.base.items())
        lora = LoraWeights(modules, dict.fromkeys(linear_layers(modules), Rank(2, 0.5)), dropout)
        lora.initialize(0, name, "uniform")
        with torch.no_grad():
            for pair in lora.pairs.values():
                pair.lora_B.weight.normal_(generator=torch.Generator().manual_seed(len(name)))
        return RoleHandle(name, self.base, self.model.adapter, trainable=True, lora=lora)

    def velocity(self, role: RoleHandle) -> Tensor:
        batch = toy_batch()
        assert batch.latents is not None
        return role.predict_velocity(batch.latents, T_B, batch.conditions[FAMILY])


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path / "model")


def gradients(role: RoleHandle) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in role.trained_parameters().items() if p.grad is not None}


def test_without_a_lora_the_shared_weights_predict_bitwise_what_they_did(shared: Shared) -> None:
    before = shared.velocity(shared.untouched)
    assert not shared.velocity(shared.student).equal(before)
    assert shared.velocity(shared.teacher).equal(before)


def test_each_role_wears_its_own(shared: Shared) -> None:
    student, critic = shared.velocity(shared.student), shared.velocity(shared.critic)
    assert not student.equal(critic)
    assert shared.velocity(shared.student).equal(student)


def test_only_the_trained_have_a_graph(shared: Shared) -> None:
    assert not shared.velocity(shared.teacher).requires_grad
    assert shared.velocity(shared.student).requires_grad
    assert not any(parameter.requires_grad for parameter in shared.base.parameters())


def test_a_gradient_reaches_the_own_lora_alone_whatever_ran_before_its_backward(shared: Shared) -> None:
    shared.velocity(shared.student).square().sum().backward()
    alone = gradients(shared.student)
    shared.student.own.zero_grad()
    loss = shared.velocity(shared.student).square().sum()
    shared.velocity(shared.critic)
    shared.velocity(shared.teacher)
    loss.backward()
    again = gradients(shared.student)
    assert alone.keys() == shared.student.trained_parameters().keys()
    assert all(gradient.any() and gradient.equal(again[name]) for name, gradient in alone.items())
    assert not gradients(shared.critic)
    assert all(parameter.grad is None for parameter in shared.base.parameters())


def test_a_first_lora_leaves_the_prediction_as_it_is(shared: Shared) -> None:
    modules = dict(shared.base.items())
    for init in ("uniform", "gaussian"):
        lora = LoraWeights(modules, dict.fromkeys(linear_layers(modules), Rank(4, 1.0)))
        lora.initialize(0, "new", init)
        new = RoleHandle("new", shared.base, shared.model.adapter, trainable=True, lora=lora)
        assert shared.velocity(new).equal(shared.velocity(shared.untouched))
        shared.velocity(new).square().sum().backward()
        assert all(
            pair.lora_B.weight.grad is not None and pair.lora_B.weight.grad.any() for pair in lora.pairs.values()
        )


def test_first_weights_follow_from_the_seed_the_role_and_the_layer_alone(shared: Shared) -> None:
    modules = dict(shared.base.items())

    def drawn(seed: int, role: str, *layers: str) -> Tensor:
        lora = LoraWeights(modules, dict.fromkeys(layers, Rank(2, 1.0)))
        state = torch.get_rng_state()
        lora.initialize(seed, role, "uniform")
        assert torch.get_rng_state().equal(state)
        return lora.pair("denoiser.layers.2").lora_A.weight.detach()

    first = drawn(0, "student", "denoiser.layers.2")
    assert first.equal(drawn(0, "student", "denoiser.layers.0", "denoiser.layers.2"))
    assert not first.equal(drawn(1, "student", "denoiser.layers.2"))
    assert not first.equal(drawn(0, "critic", "denoiser.layers.2"))


def test_merged_weights_predict_what_the_lora_did(shared: Shared) -> None:
    worn = shared.velocity(shared.student)
    assert shared.student.lora is not None
    shared.student.lora.merge()
    torch.testing.assert_close(shared.velocity(shared.teacher), worn)


def test_an_adapted_layer_refuses_to_run_where_nobody_says_whose_it_wears(shared: Shared) -> None:
    with pytest.raises(PluginError, match="outside of any role's prediction"):
        shared.base["denoiser"].layers(torch.zeros(1, 10))


class Probing:
    """An adapter with an operation of its own, of a class of its own: what a class has is remembered for the whole process."""

    def extension(self, name: str) -> Callable[..., Tensor]:
        """The first layer's answer."""

        def probe(modules: dict[str, nn.Module], x: Tensor) -> Tensor:
            answer: Tensor = modules["denoiser"].get_submodule("layers.0")(x)
            return answer

        return probe


def test_an_operation_of_the_familys_own_wears_the_lora(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(1, 10)
    roles = (shared.untouched, shared.teacher, shared.student)
    for role in roles:
        monkeypatch.setattr(role, "adapter", Probing())
    alone, off, worn = (torch.as_tensor(role.extension("toy.probe")(x)) for role in roles)
    assert off.equal(alone)
    assert not worn.equal(alone)


class Recomputing(nn.Sequential):
    """Layers whose activations are made again in backward."""

    again: Callable[..., Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """As the plain layers do."""
        return self.again(super().forward, x)


def _recomputing(shared: Shared, again: Callable[..., Tensor]) -> None:
    denoiser = shared.base["denoiser"]
    assert isinstance(denoiser, ToyDenoiser)
    recomputing = Recomputing(*denoiser.layers[:2])
    recomputing.again = again
    denoiser.layers = nn.Sequential(recomputing, nn.Identity(), denoiser.layers[2])


def test_recomputation_wears_what_the_first_computation_wore(shared: Shared) -> None:
    shared.velocity(shared.student).square().sum().backward()
    alone = gradients(shared.student)
    shared.student.own.zero_grad()
    _recomputing(shared, recomputed)
    loss = shared.velocity(shared.student).square().sum()
    shared.velocity(shared.critic)
    loss.backward()
    assert all(gradient.equal(alone[name]) for name, gradient in gradients(shared.student).items())
    assert gradients(shared.student).keys() == alone.keys()
    assert not gradients(shared.critic)


def test_recomputation_that_forgets_what_was_worn_is_refused_and_not_wrong(shared: Shared) -> None:
    from torch.utils.checkpoint import checkpoint

    _recomputing(shared, lambda block, x: checkpoint(block, x, use_reentrant=False))
    loss = shared.velocity(shared.student).square().sum()
    with pytest.raises(PluginError, match=r"distill_core\.training\.recompute"):
        loss.backward()


def test_dropout_is_the_same_in_recomputation_and_none_without_gradients(tmp_path: Path) -> None:
    shared = Shared(tmp_path / "model", dropout=0.5)
    with torch.no_grad():
        quiet = shared.velocity(shared.student)
        assert shared.velocity(shared.student).equal(quiet)
    assert not shared.velocity(shared.student).equal(quiet)
    torch.manual_seed(0)
    shared.velocity(shared.student).square().sum().backward()
    alone = gradients(shared.student)
    shared.student.own.zero_grad()
    _recomputing(shared, recomputed)
    torch.manual_seed(0)
    loss = shared.velocity(shared.student).square().sum()
    torch.rand(7)
    loss.backward()
    assert all(gradient.equal(alone[name]) for name, gradient in gradients(shared.student).items())


def test_a_role_rests_on_the_shared_weights_and_its_state_is_its_lora(shared: Shared) -> None:
    assert shared.student.frozen_tensors().keys() == shared.untouched.container.state_dict().keys()
    assert {name.rpartition(".lora_")[0] for name in shared.student.state_tensors()} == set(
        linear_layers(dict(shared.base.items()))
    )
    assert not shared.teacher.state_tensors()


def test_patterns_mean_whole_names_and_names_within_their_module() -> None:
    names = ["transformer.blocks.0.attn1.to_q", "transformer.blocks.0.ffn.net.2", "transformer_2.blocks.0.attn1.to_q"]
    assert matching(names, ["blocks.*.attn1.*"]) == [names[0], names[2]]
    assert matching(names, ["transformer_2.*"]) == [names[2]]
    assert matching(names, ["all-linear"]) == names


def test_layers_that_a_family_made_anew_are_always_among_the_chosen() -> None:
    support = LoraSupport(targets={"attention": ("*.attn*",)}, fresh=("*.gate",))
    names = ["m.attn.q", "m.ffn", "m.gate"]
    assert chosen_layers(support, ("attention",), names) == ["m.attn.q", "m.gate"]
    assert chosen_layers(support, ("attention",), names[:2]) == ["m.attn.q"]
    fault = chosen_layers(support, ("attn",), names)
    assert (
        fault
        == "'attn' means no linear layer of this model; its sets are attention, all-linear, and a pattern is of names like m.attn.q"
    )


def test_latents_of_another_size_wear_the_same(shared: Shared) -> None:
    batch = toy_batch(1)
    x = torch.zeros(1, 2, *LATENT_SHAPE[1:])
    wide = shared.student.predict_velocity(x, T_B[:1], batch.conditions[FAMILY])
    assert wide.shape == x.shape
