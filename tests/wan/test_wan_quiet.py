"""What is not said: the bars of other libraries, and a warning of what is meant so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.wan.conftest import encoded
from torch import Tensor

from distill_core.training.roles import RoleHandle
from distill_model_wan.model import WanModel
from distill_model_wan.testing import make_tiny_pipeline

MakeModel = Callable[..., WanModel]
MakeRole = Callable[..., RoleHandle]


@pytest.fixture
def always() -> Iterator[None]:
    """torch repeats the warnings that it gives once in a process, and a warning is an error."""
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    torch.set_warn_always(False)


@pytest.mark.usefixtures("always")
def test_a_forward_pass_in_bfloat16_warns_of_nothing(
    make_model: MakeModel, make_role: MakeRole, noise: Callable[..., Tensor]
) -> None:
    model = make_model(dtype=torch.bfloat16)
    role = make_role(model)
    t_B = torch.tensor([500.0], dtype=torch.float64)
    role.predict_velocity(noise(1, 3, 16, 4, 4), t_B, encoded(model.adapter, ["a cat"])).sum().backward()


@pytest.mark.usefixtures("always")
def test_other_warnings_are_heard(make_model: MakeModel) -> None:
    make_model(dtype=torch.bfloat16)
    with pytest.raises(UserWarning, match="another"):
        warnings.warn("another", UserWarning, stacklevel=1)


def test_a_pipeline_is_saved_and_loaded_without_a_word(
    tmp_path: Path, make_model: MakeModel, make_role: MakeRole, capfd: pytest.CaptureFixture[str]
) -> None:
    make_tiny_pipeline(tmp_path / "tiny")
    model = make_model()
    make_role(model)
    model.encode_caption(["a cat"])
    assert capfd.readouterr() == ("", "")
