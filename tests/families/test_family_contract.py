"""Each family keeps the contract, and computes what it says in float32 and bfloat16, with recomputation and without."""

from __future__ import annotations

import pytest
import torch
from tests.families.conftest import Family

from distill_core.plugins.lora import chosen_layers
from distill_core.protocols import Prompt
from distill_core.testing.contracts import check_model
from distill_core.training.lora import linear_layers


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


def test_each_set_of_layers_for_a_lora_means_some_and_a_later_one_no_fewer(family: Family) -> None:
    lora = family.spec.lora
    names = lora.layers(family.facts)
    assert names is not None
    loaded = linear_layers(family.role(family.model()).modules)
    assert set(names) == set(loaded), "known from headers as they are once loaded"
    found = [chosen_layers(lora, [target], names) for target in lora.sets]
    assert all(isinstance(each, list) and each for each in found), found
    assert [len(each) for each in found] == sorted(len(each) for each in found)
    blocks = [name for name in names if "blocks." in name and ".norm" not in name and "adaln" not in name]
    missed = [name for name in blocks if name not in found[1] and "_mod." not in name and "refiner" not in name]
    assert not missed, "attention and what follows it are all that blocks have"
