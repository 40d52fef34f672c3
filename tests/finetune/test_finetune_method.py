"""Finetuning on the toy model."""

from __future__ import annotations

import pytest
import torch

from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.protocols import Ask
from distill_core.testing.contracts import FAMILY, check_method, toy_batch, toy_draw, toy_roles
from distill_core.testing.toy import ToyAdapter, ToyText
from distill_method_finetune.config import FinetuneOptions
from distill_method_finetune.method import Finetune
from distill_method_finetune.plugin import distill_register_methods


def spec() -> MethodSpec:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    return registry.specs[0]


@pytest.mark.parametrize(
    "options",
    [
        FinetuneOptions(),
        FinetuneOptions(loss="x0", weighting_scheme="logit_normal", caption_dropout=0.0),
        FinetuneOptions(weighting_scheme="mode", caption_dropout=1.0),
    ],
)
def test_student_gets_gradient_on_every_step(options: FinetuneOptions) -> None:
    stepped = check_method(spec(), options, steps=3).steps
    assert set(stepped.values()) == {("student",)}


@pytest.mark.parametrize("loss_kind", ["velocity", "x0"])
@pytest.mark.parametrize("scheme", ["uniform", "mode", "logit_normal"])
def test_loss_by_hand_through_the_whole_step(loss_kind: str, scheme: str) -> None:
    roles, batch, draw = toy_roles(spec()), toy_batch(), toy_draw(2)
    adapter = roles["student"].adapter
    assert isinstance(adapter, ToyAdapter)
    adapter.options = adapter.options.model_copy(update={"flow_shift": 3.0})
    options = FinetuneOptions.model_validate(
        {"caption_dropout": 0.0, "loss": loss_kind, "weighting_scheme": scheme, "logit_mean": 0.4, "mode_scale": 0.8}
    )
    (loss,) = Finetune(roles, options).losses(batch, draw)
    u = draw.uniform("timestep")
    if scheme == "mode":
        u = 1 - u - 0.8 * (torch.cos(torch.pi / 2 * u) ** 2 - 1 + u)
    elif scheme == "logit_normal":
        u = 1 / (1 + torch.exp(-0.4 - draw.normal("timestep", ()).double()))
    sigma = (3 * u / (1 + 2 * u)).view(-1, 1, 1, 1, 1).float()
    noise = draw.normal_like("noise", batch.latents)
    noisy = (1 - sigma) * batch.latents + sigma * noise
    student, t_B = roles["student"], 1000.0 * (3 * u / (1 + 2 * u))
    v = student.adapter.predict(student.modules, noisy, t_B, batch.conditions[FAMILY], Ask()).velocity
    error = v - (noise - batch.latents) if loss_kind == "velocity" else noisy - sigma * v - batch.latents
    assert loss.value.item() == pytest.approx((error**2).mean().item(), rel=1e-5)


def test_caption_dropout_empties_the_drawn_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    original = ToyAdapter.drop_condition

    def watched(adapter: ToyAdapter, text: ToyText, dropped_B: torch.Tensor) -> ToyText:
        seen.append(dropped_B)
        return original(adapter, text, dropped_B)

    monkeypatch.setattr(ToyAdapter, "drop_condition", watched)
    method = Finetune(toy_roles(spec()), FinetuneOptions(caption_dropout=0.25))
    for step in range(1, 201):
        list(method.losses(toy_batch(5), toy_draw(step, 5)))
    share = torch.cat(seen).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.04)


def test_validation_leaves_sampler_steps_and_guidance_to_family_and_run() -> None:
    request = Finetune(toy_roles(spec()), FinetuneOptions()).validation(1)
    assert (request.sampler, request.steps, request.timesteps, request.guidance_scale) == (None, None, None, None)
