"""What is no folder of the family's is refused by one clear error, before anything is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.families.conftest import FRAMES, Family

from distill_core.errors import ModelFolderError


@pytest.fixture
def copy(family: Family, tmp_path: Path) -> Path:
    """A folder to break."""
    return Path(shutil.copytree(family.folder, tmp_path / "copy"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_of_another_family_is_named(family: Family, make_family: Callable[[str], Family]) -> None:
    other = make_family(next(name for name in FRAMES if name != family.name))
    with pytest.raises(ModelFolderError, match=r"which is not supported\. Supported "):
        family.look(other.folder)


def test_every_member_that_is_not_taken_is_refused_by_name(family: Family, copy: Path) -> None:
    kind = family.facts.folder.kind
    assert kind.others
    for pipeline, what in kind.others.items():
        edit(copy / "model_index.json", _class_name=pipeline)
        with pytest.raises(ModelFolderError, match=f"is {what}, which is not supported"):
            family.look(copy)


def test_half_a_download_is_refused(family: Family, copy: Path) -> None:
    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFolderError, match=r"is damaged.*fetch it again"):
        family.look(copy)
    weights.unlink()
    with pytest.raises(ModelFolderError, match="incomplete, fetch it again"):
        family.look(copy)


def test_weights_of_another_shape_are_refused(family: Family, copy: Path) -> None:
    for name, shape in family.facts.folder.kind.key_shapes["transformer"](copy / "transformer").items():
        stored = load_file(copy / "transformer" / "diffusion_pytorch_model.safetensors")
        assert tuple(stored[name].shape) == shape
    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(file), name: torch.zeros(3)}, file)
    with pytest.raises(ModelFolderError, match=f"{name} has the shape"):
        family.look(copy)


def test_a_scheduler_that_samples_no_flow_is_refused(family: Family, copy: Path) -> None:
    index = json.loads((copy / "model_index.json").read_text())
    edit(copy / "model_index.json", scheduler=["diffusers", "DDPMScheduler"])
    assert index["scheduler"][1] != "DDPMScheduler"
    with pytest.raises(ModelFolderError, match="its scheduler is a DDPMScheduler, expected"):
        family.look(copy)


def test_a_cogvideox_of_pairs_and_a_clip_that_its_vae_does_not_give_back_are_refused(
    make_family: Callable[[str], Family], tmp_path: Path
) -> None:
    family = make_family("cogvideox")
    newer = import_module("distill_model_cogvideox.testing").make_tiny_pipeline(tmp_path / "newer", newer=True)
    with pytest.raises(ModelFolderError, match=r"is a CogVideoX 1\.5"):
        family.look(newer)
    assert (
        family.facts.misfit((4, 2, 8, 12)) == "T = 2 is even, and its VAE takes odd numbers alone; take 1 frames, or 9"
    )
