"""Each family keeps the contract, and computes what it says in float32 and bfloat16, with recomputation and without."""

from __future__ import annotations

import pytest
import torch
from tests.families.conftest import Family

from distill_core.protocols import Prompt
from distill_core.testing.contracts import check_model


def test_a_family_keeps_the_contract(family: Family) -> None:
    check_model(family.spec, str(family.folder), frames=family.frames)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recomputation_leaves_gradients_bitwise_equal(family: Family, dtype: torch.dtype) -> None:
    model = family.model(dtype)
    condition = model.adapter.encode_condition([Prompt("a cat"), Prompt("a red square moves left")])
    noisy = torch.randn(2, *family.shape, generator=torch.Generator().manual_seed(0))
    timestep = torch.tensor([900.0, 300.0], dtype=torch.float64)
    found = []
    for recompute in (False, True):
        role = family.role(model, recompute=recompute)
        role.predict_velocity(noisy, timestep, condition).square().mean().backward()
        found.append({name: parameter.grad for name, parameter in role.trained_parameters().items()})
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in found[0].values())
    for name, gradient in found[0].items():
        again = found[1][name]
        assert (gradient is None) == (again is None), name
        assert gradient is None or again is None or gradient.equal(again), name
