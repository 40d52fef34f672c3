"""Every family's parts as people have them on disk: a denoiser in any form that is read, every other part as diffusers saves it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file, save_file
from tests.families.conftest import Family
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_diffusers.loading import load_part
from distill_diffusers.weights import STEMS

E4M3 = torch.float8_e4m3fn
pytestmark = pytest.mark.slow  # the layer's forms, which tests/wan has, once for each family


def eighth(tensors: Mapping[str, Tensor], *, scaled: bool) -> dict[str, Tensor]:
    """Weights of linear layers in 8 bits of floating point, with ComfyUI's scales or without."""
    stored = dict(tensors)
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and name.endswith(".weight"):
            factor = tensor.abs().max() / torch.finfo(E4M3).max if scaled else torch.tensor(1.0)
            stored[name] = (tensor / factor).to(E4M3)
            stored |= {f"{name.removesuffix('.weight')}.scale_weight": factor} if scaled else {}
    return stored


def write_gguf(file: Path, tensors: Mapping[str, Tensor]) -> None:
    writer = GGUFWriter(file, "tiny")
    for name, tensor in tensors.items():
        flat = tensor.reshape(*tensor.shape[:3], -1) if tensor.ndim > 4 else tensor  # gguf knows four dimensions
        writer.add_tensor(name, flat.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def stored(part: Path) -> dict[str, Tensor]:
    return {name: tensor for file in sorted(part.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def forms(family: Family, folder: Path) -> dict[str, float]:
    """The family's denoiser in every form that a file beside parts.json may have: its name, and how far its numbers may be off."""
    tensors = stored(family.folder / "transformer")
    save_file(tensors, folder / "plain.safetensors")
    save_file({f"diffusion_model.{name}": each for name, each in tensors.items()}, folder / "comfyui.safetensors")
    save_file({f"_orig_mod.{name}": each for name, each in tensors.items()}, folder / "compiled.sft")
    torch.save({"generator_ema": tensors}, folder / "trainer.pth")
    save_file(eighth(tensors, scaled=False), folder / "fp8.safetensors")
    save_file(eighth(tensors, scaled=True), folder / "scaled.safetensors")
    write_gguf(folder / "model.gguf", tensors)
    alone = Path(shutil.copytree(family.folder / "transformer", folder / "alone"))
    halves = {name: each.half() if each.is_floating_point() else each for name, each in tensors.items()}
    (alone / "diffusion_pytorch_model.safetensors").unlink()
    save_file(halves, alone / "diffusion_pytorch_model.fp16.safetensors")
    exact = dict.fromkeys(
        ("plain.safetensors", "comfyui.safetensors", "compiled.sft", "trainer.pth", "model.gguf"), 0.0
    )
    return exact | {"fp8.safetensors": 0.07, "scaled.safetensors": 0.07, "alone": 0.001}


def test_a_denoiser_is_read_in_every_form(family: Family, tmp_path: Path) -> None:
    tensors = stored(family.folder / "transformer")
    for name, within in forms(family, tmp_path).items():
        (tmp_path / "parts.json").write_text(json.dumps({"base": str(family.folder), "transformer": name}))
        loaded: dict[str, Tensor] = load_part(family.look(tmp_path), "transformer", torch.float32).state_dict()
        assert loaded.keys() == tensors.keys(), name
        for each, tensor in loaded.items():
            assert (tensor - tensors[each]).abs().max() <= within * tensors[each].abs().max(), (name, each)


def test_parts_are_read_as_variants_and_in_shards_and_called_by_their_names_in_any_other_form(
    family: Family, tmp_path: Path
) -> None:
    kind = family.facts.folder
    for part in (name for name, found in kind.parts.items() if found.has_weights and name != "transformer"):
        copy = Path(shutil.copytree(family.folder, tmp_path / part))
        tensors, stem = stored(copy / part), STEMS[kind.parts[part].library]
        for file in (copy / part).glob("*.safetensors*"):
            file.unlink()
        names = sorted(tensors)
        shards = {f"{stem}.fp16-0000{at + 1}-of-00002.safetensors": names[at::2] for at in (0, 1)}
        for file_name, held in shards.items():
            save_file({name: tensors[name] for name in held}, copy / part / file_name)
        index = {name: file_name for file_name, held in shards.items() for name in held}
        (copy / part / f"{stem}.safetensors.index.fp16.json").write_text(
            json.dumps({"metadata": {}, "weight_map": index})
        )
        loaded = load_part(family.look(copy), part, torch.float32).state_dict()
        assert all(loaded[name].equal(tensor) for name, tensor in tensors.items() if name in loaded)
        for file in (copy / part).glob("*.safetensors*"):
            file.unlink()
        save_file(
            {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}, copy / part / f"{stem}.safetensors"
        )
        with pytest.raises(ModelFolderError, match=r"distill reads of denoisers alone \(compiled\); save it anew"):
            family.look(copy)
        (copy / part / f"{stem}.safetensors").rename(copy / part / "somebodys_fp8_scaled.safetensors")
        with pytest.raises(ModelFolderError, match=rf"{part} holds somebodys_fp8_scaled\.safetensors, and no {stem}"):
            family.look(copy)
