"""What a role guarantees."""

from __future__ import annotations

import torch
from tests.core.conftest import methods

from distill_core.testing.contracts import FAMILY, LATENT_SHAPE, toy_batch, toy_roles


def frozen_and_trained() -> tuple[object, object]:
    roles = toy_roles(methods()[0])
    return roles["teacher"], roles["student"]


def test_a_frozen_role_builds_no_graph_even_from_an_input_that_has_one() -> None:
    teacher, student = frozen_and_trained()
    batch = toy_batch()
    t_B = torch.full((3,), 500.0, dtype=torch.float64)
    noisy = student.predict_x0(batch.latents, t_B, batch.conditions[FAMILY])  # type: ignore[attr-defined]
    assert noisy.requires_grad
    assert not teacher.predict_x0(noisy, t_B, batch.conditions[FAMILY]).requires_grad  # type: ignore[attr-defined]
    assert not teacher.predict_velocity(noisy, t_B, batch.conditions[FAMILY]).requires_grad  # type: ignore[attr-defined]


def test_gradients_through_a_frozen_role_are_asked_for_by_name() -> None:
    teacher, _ = frozen_and_trained()
    batch = toy_batch()
    x = torch.randn(3, *LATENT_SHAPE, requires_grad=True)
    t_B = torch.full((3,), 500.0, dtype=torch.float64)
    teacher.predict_x0(x, t_B, batch.conditions[FAMILY], input_gradients=True).sum().backward()  # type: ignore[attr-defined]
    assert x.grad is not None
    assert x.grad.any()
    assert all(parameter.grad is None for parameter in teacher.container.parameters())  # type: ignore[attr-defined]


def test_frozen_roles_are_in_eval_and_trained_ones_in_train_mode() -> None:
    teacher, student = frozen_and_trained()
    assert not teacher.container.training  # type: ignore[attr-defined]
    assert student.container.training  # type: ignore[attr-defined]
