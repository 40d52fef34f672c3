"""Exports that cannot be made: nothing is written, and nothing is written over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distill_core.errors import ModelFolderError, RunDirectoryError
from distill_core.protocols import ValidationRequest
from distill_core.training.roles import RoleHandle
from distill_model_wan.folder import WanFolder
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

MakeModel = Callable[..., WanModel]
MakeRole = Callable[..., RoleHandle]
SHAPE = (2, 16, 4, 4)
FEW = ValidationRequest(
    "student", "sde", timesteps=(1000.0, 750.0, 500.0, 250.0), guidance_scale=1.0, seeds=(7,), prompts=("a cat",)
)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (replace(FEW, timesteps=(999.0, 750.0, 500.0, 250.0)), r"The nearest grid is \[1000, 750, 500, 250\]"),
        (
            replace(FEW, timesteps=(1000.0, 900.0, 600.0, 100.0)),
            "no diffusers scheduler follows the timesteps 1000, 900",
        ),
        (replace(FEW, guidance_scale=0.5), "no guidance scale below 1"),
        (
            replace(FEW, blocks=1, until=True),
            "no pipeline of diffusers samples with until, .* no export; `distill sample` samples it",
        ),
        (replace(FEW, until=True), "samples with until, .* no export; `distill sample` samples it"),
    ],
)
def test_what_diffusers_cannot_follow_is_refused_before_anything_is_written(
    make_model: MakeModel,
    make_role: MakeRole,
    folders: dict[Variant, WanFolder],
    tmp_path: Path,
    request_: ValidationRequest,
    words: str,
) -> None:
    model = make_model()
    with pytest.raises(ModelFolderError, match=words):
        model.export(make_role(model).modules, folders["t2v"], request_, SHAPE, tmp_path / "out", torch.float32)
    assert list(tmp_path.iterdir()) == []


def test_a_second_time_is_refused_however_it_is_sampled(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path
) -> None:
    """Its predictions are those of a network that diffusers does not have, also where they go until the time itself."""
    model = make_model()
    role = make_role(model, operations=frozenset({"predict", "until"}))
    with pytest.raises(ModelFolderError, match=r"takes a second time \(until\), which WanPipeline cannot give it"):
        model.export(role.modules, folders["t2v"], FEW, SHAPE, tmp_path / "out", torch.float32)
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_folder_is_left_alone(
    make_model: MakeModel, make_role: MakeRole, folders: dict[Variant, WanFolder], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    model = make_model()
    with pytest.raises(RunDirectoryError, match="already holds something"):
        model.export(make_role(model).modules, folders["t2v"], FEW, SHAPE, tmp_path / "out", torch.float32)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_failed_export_leaves_nothing(
    make_model: MakeModel,
    make_role: MakeRole,
    folders: dict[Variant, WanFolder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    model = make_model()
    modules = make_role(model).modules
    monkeypatch.setattr("distill_diffusers.copied_part.shutil.copyfile", full_disk)
    with pytest.raises(OSError, match="No space left"):
        model.export(modules, folders["t2v"], FEW, SHAPE, tmp_path / "out", torch.float32)
    assert list(tmp_path.iterdir()) == []
