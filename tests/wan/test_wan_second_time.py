"""A second time: nothing at birth, a function of the difference afterwards; and derivatives along a direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.wan.conftest import MakeModel, MakeRole, encoded
from torch import Tensor

from distill_core.errors import ConfigError, PluginError
from distill_core.protocols import Ask
from distill_core.protocols.prediction import Tangents
from distill_core.training.roles import RoleHandle
from distill_model_wan.testing import Variant

Draw = Callable[..., Tensor]
SHAPE = (3, 16, 4, 4)
UNTIL = frozenset({"predict", "frame_timesteps", "until", "along", "blocks", "clean", "stream"})
VARIANTS: tuple[Variant, ...] = ("t2v", "a14b", "ti2v")


def float64(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def grown(role: RoleHandle, noise: Draw) -> None:
    """Give the second time weights, as training does."""
    with torch.no_grad():
        for name, parameter in role.container.named_parameters():
            if ".second.linear_2." in name:
                parameter.copy_(0.1 * noise(*parameter.shape, seed=4))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_birth_it_changes_nothing(
    make_model: MakeModel, make_role: MakeRole, noise: Draw, variant: Variant, dtype: torch.dtype
) -> None:
    model = make_model(variant, dtype)
    born, plain = make_role(model, variant, operations=UNTIL), make_role(model, variant)
    noisy = noise(2, 3, model.adapter.facts.latent_space.channels, 4, 4)
    t_B, text = float64(900.0, 250.0), encoded(model.adapter, ["a cat", "a red square"])
    expected = plain.predict_velocity(noisy, t_B, text)
    for ask in (Ask(), Ask(until=t_B), Ask(until=float64(0.0, 100.0))):
        assert born.predict_velocity(noisy, t_B, text, ask).equal(expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_until_the_time_itself_is_the_plain_prediction_for_ever(
    make_model: MakeModel, make_role: MakeRole, noise: Draw, variant: Variant
) -> None:
    model = make_model(variant)
    role = make_role(model, variant, operations=UNTIL, trainable=False)
    grown(role, noise)
    noisy = noise(2, 3, model.adapter.facts.latent_space.channels, 4, 4)
    t_B, text = float64(900.0, 250.0), encoded(model.adapter, ["a cat", "a red square"])
    plain = role.predict_velocity(noisy, t_B, text)
    assert role.predict_velocity(noisy, t_B, text, Ask(until=t_B)).equal(plain)
    ahead = role.predict_velocity(noisy, t_B, text, Ask(until=float64(900.0, 0.0)))
    torch.testing.assert_close(ahead[0], plain[0], rtol=0, atol=1e-6)
    assert (ahead[1] - plain[1]).abs().max() > 1e-4


def test_a_second_time_of_each_frame_is_that_of_the_sample(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    model = make_model()
    role = make_role(model, operations=UNTIL, trainable=False)
    grown(role, noise)
    noisy, text = noise(2, *SHAPE), encoded(model.adapter, ["a cat", "a red square"])
    t_B, r_B = float64(900.0, 250.0), float64(100.0, 50.0)
    by_frame = role.predict_velocity(noisy, t_B[:, None].expand(-1, 3), text, Ask(until=r_B[:, None].expand(-1, 3)))
    torch.testing.assert_close(by_frame, role.predict_velocity(noisy, t_B, text, Ask(until=r_B)), rtol=0, atol=2e-6)
    beside_clean = role.predict_velocity(noisy, t_B, text, Ask(until=r_B, blocks=1, clean=noisy))
    alone = role.predict_velocity(noisy[:, :1], t_B, text, Ask(until=r_B))
    torch.testing.assert_close(beside_clean[:, :1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_it_learns_from_the_first_step(
    make_model: MakeModel, make_role: MakeRole, noise: Draw, checkpointing: bool
) -> None:
    model = make_model()
    role = make_role(model, operations=UNTIL, gradient_checkpointing=checkpointing)
    ask = Ask(until=float64(100.0))
    role.predict_velocity(noise(1, *SHAPE), float64(900.0), encoded(model.adapter, ["a cat"]), ask).sum().backward()
    named = dict(role.container.named_parameters())
    last = named["transformer.condition_embedder.time_embedder.second.linear_2.weight"]
    assert last.grad is not None
    assert last.grad.ne(0).any()
    assert any(last is parameter for parameter in role.trained_parameters().values())


def test_only_roles_that_are_asked_for_it_have_the_layer(
    make_model: MakeModel, make_role: MakeRole, noise: Draw
) -> None:
    model = make_model()
    role = make_role(model)
    assert not any(".second." in name for name in role.container.state_dict())
    with pytest.raises(PluginError, match="it asks until of a role that was loaded without; add it to the operations"):
        role.predict(noise(1, *SHAPE), float64(900.0), encoded(model.adapter, ["a cat"]), Ask(until=float64(100.0)))


# Derivatives


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers casts to float32 where numbers must be exact; in these tests those places stay in float64."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("variant", "asked"),
    [
        *(("t2v", each) for each in ("plain", "until", "frames", "blocks", "clean")),
        ("a14b", "until"),
        ("ti2v", "frames"),
    ],
)
def test_derivatives_equal_finite_differences_in_float64(
    make_model: MakeModel, make_role: MakeRole, noise: Draw, variant: Variant, asked: str
) -> None:
    model = make_model(variant)
    role = make_role(model, variant, operations=UNTIL, trainable=False)
    grown(role, noise)
    for tensor in (*role.container.parameters(), *role.container.buffers()):
        tensor.data = tensor.data.double()
    channels = model.adapter.facts.latent_space.channels
    noisy, dx = (noise(2, 3, channels, 4, 4, seed=seed, dtype=torch.float64) for seed in (0, 1))
    text = encoded(model.adapter, ["a cat", "a red square"])
    text = type(text)(text.embeds_BLD.double(), text.pad_bias_L.double() if text.pad_bias_L is not None else None)
    t, r, dt, dr = float64(900.0, 250.0), float64(880.0, 100.0), float64(1.0, 0.5), float64(-0.25, 1.0)
    if asked == "frames":
        t, dt = t[:, None] + float64(3.0, 2.0, 1.0), dt[:, None] * float64(1.0, 0.0, -1.0)
    until = asked == "until"
    ask = {"blocks": {"blocks": 1}, "clean": {"blocks": 1, "clean": dx}}.get(asked, {})

    def velocity(h: float) -> Tensor:
        """Some way along the direction; h in σ."""
        later = r + 1000.0 * h * dr if until else None
        return role.predict_velocity(noisy + h * dx, t + 1000.0 * h * dt, text, Ask(until=later, **ask))

    along = Tangents(dx, dt, dr if until else None)
    made = role.predict(noisy, t, text, Ask(until=r if until else None, along=along, **ask))
    h = 1e-7
    expected = (velocity(h) - velocity(-h)) / (2 * h)
    assert made.derivative is not None
    torch.testing.assert_close(made.derivative, expected, rtol=1e-6, atol=1e-6)
    assert made.velocity.equal(velocity(0.0))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_derivative_has_no_graph_and_leaves_the_velocitys_alone(
    make_model: MakeModel, make_role: MakeRole, noise: Draw, checkpointing: bool, dtype: torch.dtype
) -> None:
    model = make_model("t2v", dtype)
    role = make_role(model, operations=UNTIL, gradient_checkpointing=checkpointing)
    noisy, dx, text = noise(1, *SHAPE), noise(1, *SHAPE, seed=1), encoded(model.adapter, ["a cat"])
    t_B, found = float64(500.0), []
    for along in (None, Tangents(dx, float64(1.0))):
        role.container.zero_grad()
        made = role.predict(noisy, t_B, text, Ask(along=along, features=(1,), store=True))
        (made.velocity.square().mean() + made.features[0].mean()).backward()
        found.append({name: p.grad.clone() for name, p in role.container.named_parameters() if p.grad is not None})
        if along is not None:
            assert made.derivative is not None
            assert not made.derivative.requires_grad
            assert made.derivative.isfinite().all()
            assert made.derivative.abs().max() > 1e-3
            assert made.stream is not None
            assert made.stream.frames == 3
    assert found[0].keys() == found[1].keys()
    assert all(found[0][name].equal(found[1][name]) for name in found[0])


def test_a_derivative_on_a_stream(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    """What went before is a constant: the derivative is that of the last block of a pass over the whole whose direction is 0 before it."""
    model = make_model()
    role = make_role(model, operations=UNTIL, trainable=False)
    noisy, dx, text = noise(1, *SHAPE), noise(1, *SHAPE, seed=1), encoded(model.adapter, ["a cat"])
    dx[:, :2] = 0.0
    t_B = float64(500.0)
    still = float64([0.0, 0.0, 1.0])
    whole = role.predict(noisy, t_B[:, None].expand(-1, 3), text, Ask(along=Tangents(dx, still), blocks=2))
    stream = role.predict(noisy[:, :2], t_B, text, Ask(store=True)).stream
    last = role.predict(noisy[:, 2:], t_B, text, Ask(along=Tangents(dx[:, 2:], float64(1.0)), stream=stream))
    assert whole.derivative is not None
    assert last.derivative is not None
    torch.testing.assert_close(last.derivative, whole.derivative[:, 2:], rtol=1e-4, atol=1e-4)


def test_sparse_attention_has_no_derivative(make_model: MakeModel, make_role: MakeRole, noise: Draw) -> None:
    model = make_model()
    role = make_role(model, operations=UNTIL, attention=("dense", "vsa"))
    noisy, text = noise(1, *SHAPE), encoded(model.adapter, ["a cat"])
    along = Tangents(noisy, float64(1.0))
    with pytest.raises(ConfigError, match="attn_kind: is 'vsa', under which there is no along; set attn_kind: dense"):
        role.predict(noisy, float64(500.0), text, Ask("vsa", 0.0, along=along))
    until = Ask("vsa", 0.0, until=float64(100.0))
    assert role.predict_velocity(noisy, float64(500.0), text, until).isfinite().all()
