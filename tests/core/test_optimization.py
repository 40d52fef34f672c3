"""Learning rates by hand, and AdamW with its state made in advance."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from distill_core.config.schema import Optimization
from distill_core.training.guarded_adamw import Flag
from distill_core.training.optimization import RoleOptimizer, Span, lr_multiplier


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lr_scheduler": "constant"}, [1, 1, 1, 1, 1]),
        ({"lr_scheduler": "constant", "lr_warmup_steps": 3}, [0.25, 0.5, 0.75, 1, 1]),
        ({"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 1}, [0.5, 1, 1, 1, 1]),
        ({"lr_scheduler": "linear"}, [1, 0.75, 0.5, 0.25, 0]),
        ({"lr_scheduler": "linear", "lr_warmup_steps": 2}, [1 / 3, 2 / 3, 1, 0.5, 0]),
        ({"lr_scheduler": "cosine"}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]),
        ({"lr_scheduler": "cosine", "lr_num_cycles": 1.0}, [1, 0.5, 0, 0.5, 1]),
        ({"lr_scheduler": "cosine_with_min_lr", "min_lr_ratio": 0.5}, [1, None, 0.75, None, 0.5]),
        ({"lr_scheduler": "cosine_with_min_lr", "min_lr_ratio": 0.0}, [1, None, 0.5, None, 0.0]),
        ({"lr_scheduler": "polynomial", "lr_power": 2.0, "min_lr_ratio": 0.0}, [1, 9 / 16, 1 / 4, 1 / 16, 0]),
        ({"lr_scheduler": "polynomial", "min_lr_ratio": 0.2}, [1, 0.8, 0.6, 0.4, 0.2]),
    ],
)
def test_schedule_by_hand_over_four_updates(settings: dict[str, object], expected: list[float | None]) -> None:
    optimization = Optimization.model_validate(settings)
    span = Span(optimization.lr_warmup_steps, 0.0, 4)
    for update, value in enumerate(expected):
        if value is not None:
            assert lr_multiplier(optimization, update, span) == pytest.approx(value, abs=1e-12), update


@given(
    scheduler=st.sampled_from(["linear", "cosine", "cosine_with_min_lr", "polynomial"]),
    total=st.integers(1, 500),
    warmup=st.integers(0, 50),
    floor=st.floats(0, 1),
)
def test_every_decaying_schedule_reaches_its_end_at_the_end_of_the_run(
    scheduler: str, total: int, warmup: int, floor: float
) -> None:
    settings = Optimization.model_validate(
        {"lr_scheduler": scheduler, "lr_warmup_steps": min(warmup, total - 1), "min_lr_ratio": floor}
    )
    end = floor if scheduler in ("cosine_with_min_lr", "polynomial") else 0.0
    span = Span(settings.lr_warmup_steps, 0.0, total)
    assert lr_multiplier(settings, total, span) == pytest.approx(end, abs=1e-9)
    assert all(0.0 <= lr_multiplier(settings, update, span) <= 1.0 + 1e-12 for update in range(total + 1))


def trained(optimizer_of: object, model: nn.Module, steps: int) -> list[torch.Tensor]:
    for step in range(steps):
        torch.manual_seed(step)
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer_of.step()  # type: ignore[attr-defined]
        model.zero_grad()
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_state_made_in_advance_changes_no_number() -> None:
    model = nn.Linear(3, 2)
    twin = copy.deepcopy(model)
    settings = Optimization(learning_rate=1e-2, max_grad_norm=None)
    ours = trained(RoleOptimizer(dict(model.named_parameters()), settings, 5), model, 5)
    plain = torch.optim.AdamW(twin.parameters(), lr=1e-2, weight_decay=0.01, fused=True)
    assert all(torch.equal(a, b) for a, b in zip(ours, trained(plain, twin, 5), strict=True))


def test_step_clips_at_the_roles_norm_and_returns_the_norm_before() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = RoleOptimizer(dict(model.named_parameters()), Optimization(max_grad_norm=1.0, betas=(0.0, 0.9)), 1)
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    norm = optimizer.norm()
    assert norm.item() == pytest.approx(5.0)
    optimizer.clip(norm)
    optimizer.step()
    # β1 = 0: exp_avg is the clipped gradient (0.6, 0.8)
    torch.testing.assert_close(optimizer.adamw.state[model.weight]["exp_avg"], torch.tensor([[0.6, 0.8]]))
    assert model.weight.grad is None
    assert optimizer.updates == 1


def test_update_uses_the_scheduled_rate() -> None:
    model = nn.Linear(1, 1, bias=False)
    settings = Optimization(learning_rate=0.4, lr_scheduler="linear", weight_decay=0.0, max_grad_norm=None)
    optimizer = RoleOptimizer(dict(model.named_parameters()), settings, 4)
    moved = []
    for _ in range(4):
        before = model.weight.item()
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        moved.append(before - model.weight.item())  # with a constant gradient AdamW moves by the rate
    assert moved == pytest.approx([0.4, 0.3, 0.2, 0.1], rel=1e-4)


def test_the_rate_that_is_told_is_the_one_that_was_used_also_after_a_resume() -> None:
    settings = Optimization(learning_rate=0.1, lr_scheduler="linear")
    weight = nn.Parameter(torch.ones(1))
    optimizer = RoleOptimizer({"weight": weight}, settings, 4)
    used = []
    for _ in range(3):
        weight.grad = torch.zeros(1)
        optimizer.step()
        used.append(optimizer.adamw.param_groups[0]["lr"])
        assert optimizer.last_learning_rate == used[-1]
    assert used == pytest.approx([0.1, 0.075, 0.05])
    resumed = RoleOptimizer({"weight": weight}, settings, 4)
    assert resumed.last_learning_rate == used[0]
    resumed.updates = 3
    assert resumed.last_learning_rate == used[-1]


def test_the_norm_of_no_gradients_lies_with_the_weights() -> None:
    """Where a role that steps got no gradient, the norm would be a tensor of the CPU: a figure that forces a sync, or fails to add."""
    optimizer = RoleOptimizer({"weight": nn.Parameter(torch.ones(1, device="meta"))}, Optimization(), 1)
    assert optimizer.norm().device.type == "meta"


def test_a_broken_step_leaves_weights_and_moments_bitwise_and_its_gradients_are_gone() -> None:
    model = nn.Linear(3, 2)
    optimizer = RoleOptimizer(dict(model.named_parameters()), Optimization(learning_rate=1e-2), 5)
    trained(optimizer, model, 2)
    names = ("step", "exp_avg", "exp_avg_sq")
    state = [[optimizer.adamw.state[weight][name] for name in names] for weight in model.parameters()]
    tensors = [*model.parameters(), *(tensor for each in state for tensor in each)]
    before = [tensor.detach().clone() for tensor in tensors]
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, math.nan)
    optimizer.clip(optimizer.norm())
    optimizer.step(Flag(torch.ones(())))
    assert all(torch.equal(now, then) for now, then in zip(tensors, before, strict=True))
    assert all(weight.grad is None for weight in model.parameters())
    trained(optimizer, model, 1)
    assert not any(torch.equal(now, then) for now, then in zip(tensors, before, strict=True))
