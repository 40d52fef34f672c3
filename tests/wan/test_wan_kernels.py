"""What computes a role's attention: its own choice, for its predictions and what is computed again of them, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models import attention_dispatch
from tests.planning.test_plan_measured import ROLES
from tests.wan.conftest import MakeModel, MakeRole, encoded
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.errors import ConfigError
from distill_core.plugins.discovery import discover
from distill_core.running.means import refuse_kernels
from distill_core.training.recompute import WHOLE
from distill_core.training.roles import RoleHandle
from distill_diffusers.kernels import DiffusersKernels
from distill_model_wan.text import WanText

CPU = torch.device("cpu")
T_B = torch.tensor([950.0], dtype=torch.float64)
MATH = partial(DiffusersKernels().attending, "_native_math")


class Attended(TorchDispatchMode):
    """Counts attention by torch's fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.fused += func is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
        return func(*args, **({} if kwargs is None else kwargs))


@contextmanager
def counted() -> Iterator[Attended]:
    """And nothing of a role's choice outlives it."""
    before = attention_dispatch._AttentionBackendRegistry._active_backend
    with Attended() as attended:
        yield attended
    assert attention_dispatch._AttentionBackendRegistry._active_backend is before


def loss(role: RoleHandle, text: WanText) -> Tensor:
    """A prediction's, with a graph."""
    return role.predict_velocity(torch.ones(1, 3, 16, 4, 4), T_B, text).square().mean()


def test_a_role_attends_by_its_kernel_in_backward_too_and_another_by_its_own(
    make_model: MakeModel, make_role: MakeRole
) -> None:
    model = make_model(text_padding="full")
    role, other = (make_role(model, gradient_checkpointing=True) for _ in range(2))
    role.recomputation = other.recomputation = WHOLE
    role.kernel, text = MATH, encoded(model.adapter, ["a cat"])
    with counted() as mine:
        own = loss(role, text)
        own.backward()
    assert mine.fused == 0
    with counted() as theirs:
        plain = loss(other, text)
        loss(role, text)  # between its forward and its backward pass
        plain.backward()
    assert theirs.fused == 2 * 2 * 2  # two layers in each of two blocks, twice
    torch.testing.assert_close(own, plain)


def test_attention_with_a_mask_stays_torchs_own(make_model: MakeModel, make_role: MakeRole) -> None:
    model = make_model(text_padding="fold")
    role = make_role(model)
    role.kernel, text = MATH, encoded(model.adapter, ["a cat"])
    with counted() as attended:
        loss(role, text)
    assert attended.fused == 2  # cross-attention to padded text, once a block


@pytest.mark.parametrize(
    ("kernel", "keys", "says"),
    [
        ("flash", {}, "attention by 'flash' does not run on this machine"),
        ("flush", {}, "diffusers has no such backend; it has flash, "),
        ("native", {"compile": True}, "blocks that are not compiled"),
    ],
)
def test_a_kernel_that_is_not_to_be_had_is_refused_by_name(
    pipelines: dict[str, Path], tmp_path: Path, kernel: str, keys: dict[str, object], says: str
) -> None:
    run: dict[str, Any] = {
        "recipe": {"family": "wan", "method": "finetune"},
        "roles": {name: {"path": str(pipelines["t2v"]), "attention": kernel, **keys} for name in ROLES["finetune"]},
        "data": {"path": str(tmp_path)},
        "training": {"max_train_steps": 1},
        "output_dir": str(tmp_path / "run"),
    }
    path = tmp_path / "run.yaml"
    path.write_text(write_yaml(run), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        refuse_kernels(open_run(path, [], discover()), CPU, torch.float32)
    (problem,) = caught.value.problems
    assert problem.key == "roles.student.attention"
    assert says in problem.message


def test_a_kernel_of_this_machine_is_tried_out_and_taken() -> None:
    DiffusersKernels().try_out("_native_math", CPU, torch.float32)
