"""What people have on disk of Wan: single files in the original layout and ComfyUI's, pickles, fp8, gguf.

Names of tensors are those of the published files; the weights are tiny. Every form is loaded to what diffusers loads of the plain folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.torch import load_file, save_file
from tests.wan.stored_forms import WEIGHTS, Put, assert_same, loaded, original
from torch import Tensor

from distill_core.errors import ModelFolderError
from distill_model_wan.folder import inspect
from distill_model_wan.testing import make_tiny_pipeline

SOME = {
    "blocks.0.self_attn.q.weight",
    "blocks.1.cross_attn.norm_k.weight",
    "blocks.0.norm3.weight",
    "blocks.1.modulation",
    "head.head.bias",
}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_single_file_of_the_original_release_or_of_comfyui_is_what_diffusers_loads_of_the_folder(
    tensors: dict[str, Tensor], put: Put, tmp_path: Path, base: Path, prefix: str
) -> None:
    theirs = original(tensors, prefix)
    assert {prefix + name for name in SOME} <= theirs.keys()
    save_file(
        {**theirs, **({"first_stage_model.conv1.weight": torch.zeros(2)} if prefix else {})},
        tmp_path / "wan.safetensors",
    )
    folder = put("wan.safetensors")
    said = inspect(str(folder)).summary
    assert f"transformer from {tmp_path / 'wan.safetensors'} (the original layout" in said
    assert ("ComfyUI's prefix" in said) == bool(prefix)
    assert_same(loaded(folder, trainable=True), tensors)
    narrow = WanTransformer3DModel.from_pretrained(base, subfolder="transformer", dtype=torch.bfloat16)
    ours = loaded(folder, torch.bfloat16)
    assert {name: (t.dtype, t.tolist()) for name, t in ours.state_dict().items()} == {
        name: (t.dtype, t.tolist()) for name, t in narrow.state_dict().items()
    }


def test_a_file_of_pictures_needs_a_base_of_pictures(base: Path, put: Put, tmp_path: Path) -> None:
    of_pictures = make_tiny_pipeline(tmp_path / "i2v", "i2v")
    tensors = load_file(of_pictures / "transformer" / WEIGHTS)
    theirs = original(tensors)
    assert "img_emb.proj.1.weight" in theirs
    save_file(theirs, tmp_path / "i2v.safetensors")
    assert_same(loaded(put("i2v.safetensors", base=of_pictures)), tensors)
    with pytest.raises(
        ModelFolderError, match=r"patch_embedding.weight has the shape .* name the base that belongs to it"
    ):
        inspect(str(put("i2v.safetensors")))
    save_file({**original(load_file(base / "transformer" / WEIGHTS)), "vace_blocks.0.before_proj.weight": torch.zeros(2)},
              tmp_path / "vace.safetensors")  # fmt: skip
    with pytest.raises(
        ModelFolderError, match=r"has vace_blocks\.0\.proj_in\.weight, which a WanTransformer3DModel of .* has not"
    ):
        inspect(str(put("vace.safetensors")))


def test_a_pickle_is_read_as_tensors_and_one_with_anything_else_is_refused(
    tensors: dict[str, Tensor], put: Put, tmp_path: Path
) -> None:
    torch.save({"model": original(tensors)}, tmp_path / "wan.pth")
    assert_same(loaded(put("wan.pth")), tensors)
    torch.save({"weight": tensors["proj_out.bias"], "code": Path}, tmp_path / "code.pth")
    with pytest.raises(ModelFolderError, match="cannot be read as tensors alone"):
        inspect(str(put("code.pth")))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ModelFolderError, match="holds a list, expected tensors"):
        inspect(str(put("list.pt")))


@pytest.mark.parametrize(
    ("scale", "beside", "dtype"),
    [
        (None, None, torch.float8_e4m3fn),
        (".scale_weight", ".scale_input", torch.float8_e4m3fn),
        (".weight_scale", ".input_scale", torch.float8_e5m2),
    ],
    ids=["unscaled", "comfyui", "comfyui-2026"],
)
def test_fp8_is_brought_back_with_its_scales(
    tensors: dict[str, Tensor], put: Put, tmp_path: Path, scale: str | None, beside: str | None, dtype: torch.dtype
) -> None:
    stored, expected = {}, dict(tensors)
    for name, tensor in tensors.items():
        theirs = next(iter(original({name: tensor})))
        if not (name.endswith(".weight") and tensor.ndim == 2):
            stored[theirs] = tensor
            continue
        factor = torch.tensor(1.0) if scale is None else tensor.abs().max() / torch.finfo(dtype).max
        stored[theirs] = (tensor / factor).to(dtype)
        expected[name] = stored[theirs].float() * factor
        if scale is not None:
            layer = theirs.removesuffix(".weight")
            stored |= {f"{layer}{scale}": factor, f"{layer}{beside}": torch.ones(1)}
            stored[f"{layer}.comfy_quant"] = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    save_file({**stored, "scaled_fp8": torch.zeros(2).to(dtype)}, tmp_path / "fp8.safetensors")
    folder = put("fp8.safetensors")
    assert f"fp8 {'without' if scale is None else 'with'} scales" in inspect(str(folder)).summary
    assert_same(loaded(folder), expected)
    assert_same(loaded(folder), tensors, within=0.15)


def test_a_scale_for_each_row_is_applied_to_its_row_and_one_of_another_kind_refused(
    tensors: dict[str, Tensor], put: Put, tmp_path: Path
) -> None:
    name, layer = "blocks.0.attn1.to_q.weight", "blocks.0.self_attn.q"
    rows = torch.arange(1.0, len(tensors[name]) + 1)[:, None]
    stored = {
        **original(tensors),
        f"{layer}.weight": tensors[name].to(torch.float8_e4m3fn),
        f"{layer}.scale_weight": rows,
    }
    save_file(stored, tmp_path / "rows.safetensors")
    module = loaded(put("rows.safetensors"))
    assert module.state_dict()[name].equal(stored[f"{layer}.weight"].float() * rows)
    save_file({**stored, f"{layer}.scale_weight": torch.ones(2, 3)}, tmp_path / "blocks.safetensors")
    with pytest.raises(ModelFolderError, match=r"the scale of blocks\.0\.self_attn\.q\.weight has the shape \[2, 3\]"):
        loaded(put("blocks.safetensors"))


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q8_0, GGMLQuantizationType.F16])
def test_a_gguf_file_is_dequantized_for_a_frozen_role_alone(
    tensors: dict[str, Tensor], put: Put, tmp_path: Path, kind: GGMLQuantizationType
) -> None:
    writer = GGUFWriter(tmp_path / "wan.gguf", "wan")
    for name, tensor in original(tensors).items():
        values = tensor.float().numpy()
        values = values.reshape(*values.shape[:2], 1, -1) if values.ndim == 5 else values  # gguf knows four dimensions
        if values.ndim == 2 and values.shape[1] % 32 == 0:
            held = values.astype(np.float16) if kind == GGMLQuantizationType.F16 else quantize(values, kind)
            writer.add_tensor(name, held, raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    folder = put("wan.gguf")
    assert f"gguf of F32, {kind.name}" in inspect(str(folder)).summary or kind == GGMLQuantizationType.F16
    assert_same(loaded(folder), tensors, within=0.01)
    with pytest.raises(ModelFolderError, match="is quantized; name plain weights for a role that trains all of them"):
        loaded(folder, trainable=True)


def test_a_gguf_file_without_the_package_says_how_to_read_it(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wan.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelFolderError, match="is no gguf file, or is damaged"):
        inspect(str(put("wan.gguf")))
    monkeypatch.setattr("distill_diffusers.stored_part.find_spec", lambda _: None)
    with pytest.raises(ModelFolderError, match="takes the package gguf to read; install it"):
        inspect(str(put("wan.gguf")))


def test_weights_in_whole_numbers_are_refused_by_name(tensors: dict[str, Tensor], put: Put, tmp_path: Path) -> None:
    stored = original(tensors)
    stored["blocks.0.ffn.0.weight"] = stored["blocks.0.ffn.0.weight"].to(torch.int8)
    save_file(stored, tmp_path / "int8.safetensors")
    with pytest.raises(ModelFolderError, match=r"holds weights that are quantized \(I8\)"):
        inspect(str(put("int8.safetensors")))
