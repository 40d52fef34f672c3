"""Our losses against those of another implementation, nvidia-modelopt's `modelopt.torch.fastgen` (Apache-2.0), to 1e-5.

Not run by default: ``uv run --with nvidia-modelopt==0.47 pytest -m parity -n 0 tests/parity``. What differs by convention is in
packages/distill-matching/README.md.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_core import flow
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Ask
from distill_core.testing.contracts import toy_batch, toy_draw, toy_roles
from distill_core.training.averages import WeightAverage
from distill_core.training.roles import RoleHandle
from distill_matching.discriminator import approximate_r1, discriminator_loss, generator_loss
from distill_matching.losses import (
    critic_noise_loss,
    critic_velocity_loss,
    critic_x0_loss,
    dmd_gradient,
    dmd_loss,
    guided,
)
from distill_method_dmd2 import plugin as dmd2
from distill_method_dmd2.config import Dmd2Options
from distill_method_dmd2.method import Dmd2
from distill_method_fdistill.divergences import weight

pytestmark = pytest.mark.parity

SHAPE = (3, 4, 2, 5, 5)
COMMAND = "uv run --with nvidia-modelopt==0.47 pytest -m parity -n 0 tests/parity"
OPTIONS = Dmd2Options(
    rollout="data_latent",
    generator_update_interval=1,
    guidance_scale=3.0,
    normalizer_floor_as="sum",
    critic_loss="x0",
    gan_weight=0.03,
    gan_layers=(0,),
)
"""The conventions of FastGen: the floor is added, the critic regresses onto x0, one head."""


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The other implementation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("modelopt.torch.fastgen")
        except ModuleNotFoundError as missing:
            raise AssertionError(f"the parity tests need {missing.name}; run them by: {COMMAND}") from missing


def numbers(count: int, seed: int = 0) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randn(SHAPE, generator=generator)


def same(ours: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(ours, other.to(ours.dtype), rtol=1e-5, atol=1e-5)


def test_the_matching_loss_and_its_gradient(theirs: Any) -> None:
    x, fake, real = numbers(3)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours = dmd_loss(one, dmd_gradient(x, fake, real, floor_as="sum"))
    other = theirs.losses.vsd_loss(two, real, fake)
    same(ours, other)
    assert one.grad is None
    ours.backward()
    other.backward()
    assert one.grad is not None
    assert two.grad is not None
    same(one.grad, two.grad)


@pytest.mark.parametrize("divergence", ["kl", "js", "neyman"])
def test_the_matching_loss_with_a_weight_for_each_sample(theirs: Any, divergence: Any) -> None:
    x, fake, real = numbers(3)
    h = weight(divergence, torch.tensor([0.5, 1.0, 3.0]))
    gradient = h.view(-1, 1, 1, 1, 1) * dmd_gradient(x, fake, real, floor_as="sum")
    same(dmd_loss(x, gradient), theirs.losses.vsd_loss(x, real, fake, additional_scale=h))


def test_the_critics_losses(theirs: Any) -> None:
    prediction, x, noise = numbers(3)
    dsm = theirs.losses.dsm_loss
    same(critic_velocity_loss(prediction, x, noise), dsm("flow", prediction, x0=x, eps=noise))
    same(critic_x0_loss(prediction, x), dsm("x0", prediction, x0=x))
    same(critic_noise_loss(prediction, noise), dsm("eps", prediction, eps=noise))


def test_the_losses_of_the_gan(theirs: Any) -> None:
    fake, real = torch.tensor([-1.3, 0.2, 4.0]), torch.tensor([0.7, -2.0, 0.0])
    same(generator_loss(fake), theirs.losses.gan_gen_loss(fake[:, None]))
    same(discriminator_loss(fake, real), theirs.losses.gan_disc_loss(real[:, None], fake[:, None]))
    same(approximate_r1(real, fake), theirs.losses.r1_loss(real[:, None], fake[:, None]))


def test_the_arithmetic_of_the_flow(theirs: Any) -> None:
    x, noise, velocity = numbers(3)
    sigma = torch.tensor([0.999, 0.5, 0.04], dtype=torch.float64)
    t, other = 1000.0 * sigma, theirs.flow_matching
    noisy = flow.add_noise(x, noise, t)
    same(noisy, other.add_noise(x, noise, sigma))
    same(flow.x0_of(noisy, velocity, t), other.pred_x0_from_flow(velocity, noisy, sigma))
    same(flow.velocity_of(noisy, x, t), other.x0_to_flow(x, noisy, sigma))
    implied = other.x0_to_eps(x, noisy, sigma)
    lower = 0.5 * sigma
    same(flow.move(noisy, x, t, 1000.0 * lower), other.add_noise(x, implied, lower))


def test_guidance(theirs: Any) -> None:
    cond, uncond = numbers(2)
    same(guided(cond, uncond, 5.0), theirs.utils.classifier_free_guidance(cond, uncond, 5.0))


def test_shifted_timesteps(theirs: Any) -> None:
    u = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    settings = theirs.SampleTimestepConfig(time_dist_type="shifted", shift=5.0, min_t=0.0, max_t=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda *_, **__: u)
        drawn = theirs.flow_matching.sample_timesteps(7, settings, device=torch.device("cpu"), dtype=torch.float64)
    same(flow.shift_timestep(1000.0 * u, 5.0) / 1000.0, drawn)


def test_the_average_of_weights(theirs: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        other = theirs.ExponentialMovingAverage(net, theirs.EMAConfig(decay=0.9, fsdp2=False))
        ours = WeightAverage(dict(net.named_parameters()), 0.9)
        other.update(net, iteration=0)
        for step in range(1, 6):
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.add_(torch.randn_like(parameter))
            ours.update(dict(net.named_parameters()), step)
            other.update(net, iteration=step)
    for name, tensor in ours.shadow.items():
        same(tensor, other.state_dict()[name])


class Shown(nn.Module):
    """One of our roles as a network of theirs."""

    def __init__(self, role: RoleHandle, layers: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.role = role
        self.inner = role.container
        self.layers = layers
        self._fastgen_captured: list[Tensor] = []

    def forward(self, hidden_states: Tensor, timestep: Tensor, encoder_hidden_states: Any) -> Tensor:
        ask = Ask(features=self.layers)
        seen = self.role.predict(hidden_states, timestep.double(), encoder_hidden_states, ask, input_gradients=True)
        self._fastgen_captured.extend(seen.features)
        return seen.velocity


class Logits(nn.Module):
    """Our discriminator as one of theirs: [B, heads]."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: list[Tensor]) -> Tensor:
        logit: Tensor = self.inner(tuple(features))
        return logit[:, None]


def spec() -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    dmd2.distill_register_methods(registry)
    return registry.specs[0]


@pytest.mark.parametrize("gan", [True, False])
def test_whole_updates_of_dmd2_by_their_pipeline(theirs: Any, gan: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their pipeline on our networks, fed our draws: student, critic and discriminator."""
    options = OPTIONS if gan else OPTIONS.model_copy(update={"gan_weight": 0.0})
    roles, batch, draw = toy_roles(spec(), OPTIONS), toy_batch(), toy_draw(1)
    method = Dmd2(roles, options)
    ours = {loss.role: loss.value.detach() for loss in method.losses(batch, draw)}
    for role in ("student", "critic", "discriminator") if gan else ("student", "critic"):
        own = draw.within(role)
        sample = method.sample(batch, draw.within("student"))
        sigma = method.scores.timestep(sample, batch, own) / 1000.0
        noise = own.normal_like("score", sample.x_BTCHW)
        found = _theirs(theirs, roles, options, batch, draw.within("student"), sigma, noise, monkeypatch)
        same(ours[role], found[role]())


def _theirs(
    theirs: Any,
    roles: dict[str, RoleHandle],
    options: Dmd2Options,
    batch: Any,
    draw: Any,
    sigma: Tensor,
    noise: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Callable[[], Tensor]]:
    """Their losses by our role, on networks, timesteps and noise of ours."""
    steps = draw.choice("step", options.steps)
    start = draw.normal("start", batch.latent_shape)

    class Fed(theirs.DMDPipeline):
        """Timesteps, and the student's input, are given."""

        def sample_timesteps(self, *_: Any, **__: Any) -> Tensor:
            return sigma

        def _build_student_input(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            return flow.add_noise(batch.latents, start, steps), steps / 1000.0

    settings = theirs.DMDConfig(
        guidance_scale=options.scale,
        gan_loss_weight_gen=options.gan_weight,
        gan_use_same_t_noise=True,
        fake_score_pred_type=options.critic_loss,
        num_train_timesteps=None,
        ema=None,
    )
    teacher = Shown(roles["teacher"], (0,))
    networks = Shown(roles["student"]), teacher, Shown(roles["critic"])
    judge = Logits(roles["discriminator"].module) if options.gan_weight else None
    pipeline = Fed(*networks, settings, discriminator=judge)
    monkeypatch.setattr(
        Fed,
        "_call_model",
        lambda self, model, x, t, encoder_hidden_states=None: model(x, 1000.0 * t, encoder_hidden_states),
    )
    monkeypatch.setattr(torch, "randn_like", lambda _: noise)
    condition, negative = (
        batch.condition_of(roles["teacher"]),
        roles["teacher"].unconditional(batch.condition_of(roles["teacher"])),
    )
    given = batch.latents, noise, condition
    return {
        "student": lambda: pipeline.compute_student_loss(*given, negative_encoder_hidden_states=negative)["total"],
        "critic": lambda: pipeline.compute_fake_score_loss(*given)["total"],
        "discriminator": lambda: pipeline.compute_discriminator_loss(*given)["total"],
    }
