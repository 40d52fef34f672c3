"""Features of hidden layers: from the velocity's own forward pass, with its graph, recomputed or not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.wan.conftest import MakeModel, MakeRole, encoded
from torch import Tensor

from distill_core.errors import PluginError
from distill_core.protocols import Ask
from distill_model_wan.folder import WanFolder
from distill_model_wan.testing import Variant

Draw = Callable[..., Tensor]
SHAPE = (3, 16, 4, 4)


def timesteps(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_facts_say_how_wide_they_are_and_how_many(folders: dict[Variant, WanFolder]) -> None:
    for facts in folders.values():
        assert (facts.feature_width, facts.layers) == (24, 2)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["dense", "vsa"])
def test_features_are_the_layers_outputs_on_the_grid_of_tokens(
    make_model: MakeModel, make_role: MakeRole, noise: Draw, checkpointing: bool, attention: str
) -> None:
    model = make_model()
    role = make_role(model, gradient_checkpointing=checkpointing, attention=(attention,))
    noisy, t_B, text = noise(2, *SHAPE), timesteps(900.0, 250.0), encoded(model.adapter, ["a cat", "a red square"])
    outputs: list[Tensor] = []
    last = role.modules["transformer"].get_submodule("blocks.1")
    hook = last.register_forward_hook(lambda _, __, output: outputs.append(output.detach()))
    ask = Ask(attention, 0.0, features=(1, 0, 1))
    prediction = role.predict(noisy, t_B, text, ask)
    hook.remove()
    assert prediction.velocity.equal(role.predict_velocity(noisy, t_B, text, Ask(attention, 0.0)))
    assert [each.shape for each in prediction.features] == [(2, 3, 24, 2, 2)] * 3
    assert prediction.features[0].equal(prediction.features[2])
    assert prediction.features[0][1, 2, :, 1, 0].equal(outputs[0][1, 2 * 4 + 2])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_they_give_gradients_to_the_input_and_to_the_layers_before(
    make_model: MakeModel, make_role: MakeRole, noise: Draw, checkpointing: bool
) -> None:
    model = make_model()
    role = make_role(model, gradient_checkpointing=checkpointing)
    noisy, text = noise(1, *SHAPE).requires_grad_(), encoded(model.adapter, ["a cat"])
    prediction = role.predict(noisy, timesteps(500.0), text, Ask(features=(0,)))
    kept = prediction.features
    (kept[0].square().mean() + prediction.velocity.square().mean() * 0.0).backward()
    assert noisy.grad is not None
    assert noisy.grad.ne(0).any()
    gradients = {name: parameter.grad for name, parameter in role.container.named_parameters()}
    first, second = (gradients[f"transformer.blocks.{layer}.ffn.net.2.weight"] for layer in (0, 1))
    assert first is not None
    assert first.ne(0).any()
    assert second is None or second.eq(0).all()
    assert prediction.features is kept


def test_recomputing_gives_the_same_gradients(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    model = make_model()
    text, found = encoded(model.adapter, ["a cat"]), []
    for checkpointing in (False, True):
        role = make_role(model, gradient_checkpointing=checkpointing)
        prediction = role.predict(noise(1, *SHAPE), timesteps(500.0), text, Ask(features=(0, 1)))
        (prediction.velocity.square().mean() + sum(each.abs().mean() for each in prediction.features)).backward()
        found.append({name: p.grad for name, p in role.container.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(found[0][name].equal(found[1][name]) for name in found[0])


def test_a_frozen_role_gives_the_gradient_of_its_input_alone(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    model = make_model()
    role = make_role(model, trainable=False)
    noisy, text = noise(1, *SHAPE).requires_grad_(), encoded(model.adapter, ["a cat"])
    role.predict(noisy, timesteps(500.0), text, Ask(features=(1,)), input_gradients=True).features[0].sum().backward()
    assert noisy.grad is not None
    assert all(parameter.grad is None for parameter in role.container.parameters())


def test_each_expert_gives_the_features_of_its_own_samples(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    model = make_model("a14b")
    role = make_role(model, "a14b", trainable=False)
    noisy, text = noise(3, *SHAPE), encoded(model.adapter, ["a cat"]).repeated(3)
    together = role.predict(noisy, timesteps(100.0, 900.0, 950.0), text, Ask(features=(1,)))
    for row, t in enumerate((100.0, 900.0, 950.0)):
        one = slice(row, row + 1)
        alone = role.predict(noisy[one], timesteps(t), text.select(torch.tensor([0])), Ask(features=(1,)))
        torch.testing.assert_close(together.features[0][one], alone.features[0], rtol=0, atol=1e-5)


def test_a_layer_that_is_not_there_is_named(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    model = make_model()
    role = make_role(model)
    with pytest.raises(PluginError, match=r"features of layer 2, and the model's layers are 0 to 1"):
        role.predict(noise(1, *SHAPE), timesteps(500.0), encoded(model.adapter, ["a cat"]), Ask(features=(0, 2)))
