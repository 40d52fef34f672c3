"""What is computed in which dtype."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.wan.conftest import encoded
from torch import Tensor

from distill_core.errors import ConfigError
from distill_core.protocols import ModelRequest
from distill_core.training.roles import RoleHandle
from distill_diffusers.passes.time_embedding import Float32TimeEmbedding
from distill_model_wan.folder import WanFolder
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

MakeModel = Callable[..., WanModel]
MakeRole = Callable[..., RoleHandle]
Draw = Callable[..., Tensor]
SHAPE = (3, 16, 4, 4)


def timesteps(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_bfloat16_forward_is_near_float32_and_returns_float32(
    make_model: MakeModel, make_role: MakeRole, noise: Draw, weights: torch.dtype
) -> None:
    exact_model, model = make_model(), make_model(dtype=torch.bfloat16)
    exact = make_role(exact_model, trainable=False)
    role = make_role(model, trainable=False, weights_dtype=weights)
    noisy, t_B = noise(2, *SHAPE), timesteps(900.0, 300.0)
    expected = exact.predict_velocity(noisy, t_B, encoded(exact_model.adapter, ["a cat", "a red square"]))
    velocity = role.predict_velocity(noisy, t_B, encoded(model.adapter, ["a cat", "a red square"]))
    assert velocity.dtype == torch.float32
    assert not velocity.equal(expected)
    torch.testing.assert_close(velocity, expected, rtol=0.05, atol=0.05)


def test_time_is_embedded_in_float32_under_autocast(make_model: MakeModel, make_role: MakeRole) -> None:
    role = make_role(make_model(dtype=torch.bfloat16), trainable=False)
    embedder = role.modules["transformer"].get_submodule("condition_embedder.time_embedder")
    assert isinstance(embedder, Float32TimeEmbedding)
    features = torch.randn(2, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        inside = embedder(features)
    with torch.no_grad():
        assert inside.equal(embedder(features))
    assert inside.dtype == torch.float32


def test_weights_narrower_than_the_forward_pass_are_refused(
    make_model: MakeModel, folders: dict[Variant, WanFolder]
) -> None:
    with pytest.raises(ConfigError, match=r"set training\.precision: bf16"):
        make_model().load_modules(ModelRequest(folders["t2v"], False, torch.bfloat16))
