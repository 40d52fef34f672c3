"""Denoisers in one file, in the layout that a family's makers release: read by diffusers' conversion, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file, save_file
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture
from tests.families.conftest import Family, read_in_turn
from tests.families.original_layouts import LAYOUTS
from torch import Tensor, nn

from distill_core.config.document import write_yaml
from distill_core.errors import ModelFolderError
from distill_diffusers.loading import load_part, part_class

MakeFamily = Callable[[str], Family]
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def put(folder: Path, base: Path, file: str) -> Path:
    """A folder whose transformer is in that file of its own."""
    (folder / "parts.json").write_text(json.dumps({"base": str(base), "transformer": file}))
    return folder


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize(
    "name", ["ltx", "cosmos2", "sd3", "sana", "qwenimage", pytest.param("flux2", marks=pytest.mark.slow)]
)
def test_a_single_file_is_what_diffusers_loads_of_the_folder(
    make_family: MakeFamily, tmp_path: Path, name: str, prefix: str
) -> None:
    family = make_family(name)
    tensors = load_file(family.folder / WEIGHTS)
    theirs = LAYOUTS[name].of(tensors)
    original = name != "qwenimage"
    assert not original or not theirs.keys() & {each for each in tensors if "blocks" in each and "norm" in each}
    save_file(
        {prefix + each: tensor.contiguous() for each, tensor in theirs.items()}, tmp_path / "released.safetensors"
    )
    facts = family.look(put(tmp_path, family.folder, "released.safetensors"))
    assert ("released.safetensors (the original layout" in facts.summary) == original
    for loaded in (load_part(facts, "transformer", torch.float32).state_dict(), read_in_turn(facts, torch.float32)):
        assert loaded.keys() == tensors.keys()
        assert all(tensor.equal(tensors[each]) for each, tensor in loaded.items())


def widened(family: Family, folder: Path) -> tuple[Path, nn.Module]:
    """A copy of the family's folder whose transformer is as wide as the published one and has one layer of each kind; and that, on meta."""
    base = Path(shutil.copytree(family.folder, folder))
    config = base / "transformer" / "config.json"
    wide = {**json.loads(config.read_text()), "num_attention_heads": 24, "attention_head_dim": 128}
    wide |= {"num_layers": 1, "num_single_layers": 1}
    config.write_text(json.dumps(wide))
    with torch.device("meta"):
        return base, part_class(family.facts, "transformer").from_config(wide)


@pytest.mark.parametrize("name", ["flux", "hunyuanvideo"])
def test_a_file_is_read_at_its_published_width(make_family: MakeFamily, tmp_path: Path, name: str) -> None:
    """diffusers' conversion has the width written in: a tiny one is refused, one of full width is told by its headers."""
    family = make_family(name)
    tiny = LAYOUTS[name].of(load_file(family.folder / WEIGHTS))
    save_file({each: tensor.contiguous() for each, tensor in tiny.items()}, tmp_path / "tiny.safetensors")
    with pytest.raises(
        ModelFolderError, match=r"lacks .*it is of another model than .*, or in a layout that diffusers"
    ):
        family.look(put(tmp_path, family.folder, "tiny.safetensors"))
    base, module = widened(family, tmp_path / "base")
    whole = module.state_dict()
    hollow(tmp_path / "wide.safetensors", LAYOUTS[name].of(whole))
    facts = family.look(put(tmp_path, base, "wide.safetensors"))
    assert "wide.safetensors (the original layout)" in facts.summary
    assert facts.folder.stored("transformer").tensors.keys() == whole.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flux", "hunyuanvideo"])
def test_a_file_of_the_published_width_is_what_was_released_bit_for_bit(
    make_family: MakeFamily, tmp_path: Path, name: str
) -> None:
    family = make_family(name)
    base, module = widened(family, tmp_path / "base")
    whole = module.to_empty(device="cpu").to(torch.bfloat16).state_dict()
    for number, tensor in enumerate(whole.values()):  # content that tells tensors, rows and halves apart
        tensor.copy_(torch.arange(tensor.numel()).remainder(251 + number).reshape(tensor.shape))
    released = {
        f"model.diffusion_model.{each}": tensor.contiguous() for each, tensor in LAYOUTS[name].of(whole).items()
    }
    save_file(released, tmp_path / "wide.safetensors")
    facts = family.look(put(tmp_path, base, "wide.safetensors"))
    for loaded in (load_part(facts, "transformer", torch.bfloat16).state_dict(), read_in_turn(facts, torch.bfloat16)):
        assert loaded.keys() == whole.keys()
        assert all(tensor.equal(whole[each]) for each, tensor in loaded.items())


def hollow(file: Path, tensors: dict[str, Tensor]) -> None:
    """A file of zeros that takes no place on the disk."""
    header, end = dict[str, object](), 0
    for name, tensor in tensors.items():
        begin, end = end, end + 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    content = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(len(content).to_bytes(8, "little") + content)
        opened.truncate(8 + len(content) + end)


def test_norms_that_diffusers_conversion_leaves_out_are_missed_before_anything_is_loaded(
    make_family: MakeFamily, tmp_path: Path
) -> None:
    """As of Sana 1.5, whose release has them and whose conversion knows Sana 1.0 alone."""
    family = make_family("sana")
    base = Path(shutil.copytree(family.folder, tmp_path / "base"))
    config = base / "transformer" / "config.json"
    normed = {**json.loads(config.read_text()), "qk_norm": "rms_norm_across_heads"}
    config.write_text(json.dumps(normed))
    tensors = part_class(family.facts, "transformer").from_config(normed).state_dict()
    theirs = LAYOUTS["sana"].of(tensors)
    assert {"blocks.0.attn.q_norm.weight", "blocks.0.cross_attn.k_norm.weight"} <= theirs.keys()
    torch.save({"state_dict": theirs}, tmp_path / "sana15.pth")
    with pytest.raises(ModelFolderError, match=r"conversion makes no .*attn1\.norm_k\.weight.* in diffusers format"):
        family.look(put(tmp_path, base, "sana15.pth"))


def test_a_layout_that_diffusers_does_not_convert_is_refused_by_name(make_family: MakeFamily, tmp_path: Path) -> None:
    family = make_family("cogvideox")
    tensors = load_file(family.folder / WEIGHTS)
    save_file({f"of_their_own.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "x.safetensors")
    with pytest.raises(ModelFolderError, match="or in a layout that diffusers does not convert to a CogVideoXTransfor"):
        family.look(put(tmp_path, family.folder, "x.safetensors"))


def test_quantized_weights_of_a_role_that_trains_them_are_refused_before_anything_is_loaded(
    distill: Command,  # noqa: F811
    make_family: MakeFamily,
    tmp_path: Path,
) -> None:
    family = make_family("sd3")
    writer = GGUFWriter(tmp_path / "sd3.gguf", "sd3")
    for name, tensor in load_file(family.folder / WEIGHTS).items():
        writer.add_tensor(name, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path = {"path": str(put(tmp_path, family.folder, "sd3.gguf"))}
    run = {"recipe": {"family": "sd3", "method": "finetune"}, "roles": {"student": path}, "data": {"path": "data"}}
    (tmp_path / "run.yaml").write_text(write_yaml(run))
    said = distill("config", "check", tmp_path / "run.yaml").err
    assert "roles.student.path" in said
    assert "sd3.gguf is quantized, and a role that trains all of its weights cannot start from it" in said
    (tmp_path / "run.yaml").write_text(write_yaml({**run, "roles": {"student": {**path, "lora": {"rank": 2}}}}))
    assert "is quantized" not in distill("config", "check", tmp_path / "run.yaml").err
