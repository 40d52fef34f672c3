"""What people have on disk of Wan: variants, single files in the original layout and ComfyUI's, fp8, gguf, compiled, parts alone.

Names of tensors are those of the published files; the weights are tiny. Every form is loaded to what diffusers loads of the plain folder.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.torch import load_file, save_file
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture
from torch import Tensor, nn

from distill_core.config.document import write_yaml
from distill_core.errors import ModelFolderError
from distill_core.protocols import ModelRequest
from distill_diffusers.copied_part import copy_part
from distill_diffusers.loading import load_part
from distill_diffusers.parts_file import PARTS
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant, make_tiny_pipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"
ORIGINAL = (
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^condition_embedder\.image_embedder\.norm1\.", "img_emb.proj.0."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj\.", "img_emb.proj.1."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2\.", "img_emb.proj.3."),
    (r"^condition_embedder\.image_embedder\.norm2\.", "img_emb.proj.4."),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^proj_out\.", "head.head."),
    (r"\.scale_shift_table$", ".modulation"),
    (r"\.norm2\.", ".norm3."),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.add_([kv])_proj\.", r".\1_img."),
    (r"\.norm_added_k\.", ".norm_k_img."),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
)
"""From diffusers' names to those of Wan's own release."""
SOME = {
    "blocks.0.self_attn.q.weight",
    "blocks.1.cross_attn.norm_k.weight",
    "blocks.0.norm3.weight",
    "blocks.1.modulation",
    "head.head.bias",
}

Put = Callable[..., Path]


def original(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Tensors under the names of the original release."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, to in ORIGINAL:
            name = re.sub(pattern, to, name)
        renamed[prefix + name] = tensor
    return renamed


@pytest.fixture
def base(pipelines: dict[Variant, Path]) -> Path:
    return pipelines["t2v"]


@pytest.fixture
def tensors(base: Path) -> dict[str, Tensor]:
    """The transformer's, as diffusers saves them."""
    return load_file(base / "transformer" / WEIGHTS)


@pytest.fixture
def put(base: Path, tmp_path: Path) -> Put:
    """``put("wan.safetensors")``: a folder whose transformer is that file, and whose other parts are a plain folder's."""

    def make(weights: str, part: str = "transformer", base: Path = base) -> Path:
        folder = tmp_path / "together"
        folder.mkdir(exist_ok=True)
        (folder / PARTS).write_text(json.dumps({"base": str(base), part: str(tmp_path / weights)}))
        return folder

    return make


def loaded(folder: Path, dtype: torch.dtype = torch.float32, *, trainable: bool = False) -> nn.Module:
    facts = inspect(str(folder))
    model = WanModel(facts, WanOptions(), torch.device("cpu"), dtype)
    return model.load_modules(ModelRequest(facts, trainable, dtype))["transformer"]


def assert_same(module: nn.Module, expected: Mapping[str, Tensor], *, within: float = 0.0) -> None:
    found = module.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name].float() - tensor.float()).abs().max() <= within * tensor.float().abs().max(), name


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
    with pytest.raises(ModelFolderError, match="is quantized, and a role that trains all of its weights cannot start"):
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


def test_a_compiled_modules_names_are_read_in_a_pipeline_folder(
    base: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "compiled"))
    save_file({f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}, folder / "transformer" / WEIGHTS)
    assert "transformer (compiled)" in inspect(str(folder)).summary
    assert_same(loaded(folder, trainable=True), tensors)


@pytest.mark.parametrize("shards", ["10GB", "100KB"])
def test_a_variant_is_loaded_where_nothing_else_is_there_and_exported_without_its_name(
    base: Path, tensors: dict[str, Tensor], tmp_path: Path, shards: str
) -> None:
    folder = tmp_path / "fp16"
    WanPipeline.from_pretrained(base).save_pretrained(folder, variant="fp16", max_shard_size=shards)
    assert not (folder / "transformer" / WEIGHTS).exists()
    facts = inspect(str(folder))
    assert "transformer (variant fp16)" in facts.summary
    assert_same(loaded(folder), tensors)
    encoder = load_part(facts, "text_encoder", torch.float32)
    copy_part(folder / "text_encoder", tmp_path / "copied")
    again = type(encoder).from_pretrained(tmp_path / "copied")
    assert_same(again, encoder.state_dict())


def test_a_transformer_alone_is_put_together_with_its_base(
    base: Path, tensors: dict[str, Tensor], put: Put, tmp_path: Path
) -> None:
    shutil.copytree(base / "transformer", tmp_path / "alone")
    with pytest.raises(
        ModelFolderError, match=r"it is a WanTransformer3DModel alone; .*make a folder with the file parts\.json"
    ):
        inspect(str(tmp_path / "alone"))
    doubled = {name: 2 * tensor for name, tensor in tensors.items()}
    save_file(doubled, tmp_path / "alone" / WEIGHTS)
    folder = put("alone")
    assert f"; transformer from {tmp_path / 'alone'}" in inspect(str(folder)).summary
    assert_same(loaded(folder), doubled)


def test_the_original_releases_folder_is_taken_for_its_weights(
    tensors: dict[str, Tensor], put: Put, tmp_path: Path
) -> None:
    """As it lies on the Hub: config.json of a class of its own, weights in shards."""
    place = tmp_path / "high_noise_model"
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"_class_name": "WanModel", "dim": 24, "num_layers": 2}))
    names = sorted(theirs := original(tensors))
    index = {}
    for number in (1, 2):
        shard = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        held = {name: theirs[name] for name in names[number - 1 :: 2]}
        save_file(held, place / shard)
        index |= dict.fromkeys(held, shard)
    (place / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": index}))
    assert_same(loaded(put("high_noise_model")), tensors)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"transformer": "x.safetensors"}, "names no base"),
        ({"base": "x"}, "names no weights; beside base it names the file or folder of transformer or transformer_2"),
        ({"base": "x", "vae": "y"}, "knows nothing called vae"),
        ({"base": "x", "transformer": "missing.safetensors"}, "does not exist"),
        ({"base": "x", "transformer": 3}, "transformer is no path, but 3"),
        (
            {"base": "x", "transformer": "parts.json"},
            "weights are read from .safetensors, .sft, .pth, .pt, .gguf alone",
        ),
    ],
)
def test_a_parts_file_that_says_nothing_usable_is_refused(
    tmp_path: Path, content: dict[str, object], words: str
) -> None:
    (tmp_path / PARTS).write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match=words):
        inspect(str(tmp_path))


def test_a_part_that_the_base_has_not_is_named(tensors: dict[str, Tensor], put: Put, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "low.safetensors")
    with pytest.raises(ModelFolderError, match=r"names weights of transformer_2, and .* has no such part"):
        inspect(str(put("low.safetensors", "transformer_2")))


def test_a_lora_named_as_a_model_is_called_so(put: Put, tmp_path: Path) -> None:
    lora = {"transformer.blocks.0.attn1.to_q.lora_A.weight": torch.zeros(4, 24)}
    save_file(lora, tmp_path / "pytorch_lora_weights.safetensors")
    with pytest.raises(ModelFolderError, match=r"is a LoRA .* the LoRA under fixed_loras"):
        inspect(str(tmp_path))
    for named in (".", "pytorch_lora_weights.safetensors"):
        with pytest.raises(ModelFolderError, match="is a LoRA"):
            inspect(str(put(named)))


def test_a_single_file_named_as_a_model_says_what_to_write(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(original(tensors), tmp_path / "wan.safetensors")
    with pytest.raises(
        ModelFolderError, match=r'parts\.json, \{"base": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "transformer": ".*wan\.'
    ):
        inspect(str(tmp_path / "wan.safetensors"))


def test_a_model_that_was_put_together_trains_goes_on_and_is_exported_as_a_pipeline(
    distill: Command,  # noqa: F811
    tensors: dict[str, Tensor],
    put: Put,
    tmp_path: Path,
) -> None:
    save_file(original(tensors), tmp_path / "wan.safetensors")
    folder = put("wan.safetensors")
    (tmp_path / "words.txt").write_text("a cat\na dog\n")
    encoded = distill(
        "data", "encode", tmp_path / "words.txt", "--captions-only", "--model", folder, "--output", tmp_path / "data"
    )
    assert encoded.code == 0, encoded.err
    roles = {name: {"path": str(folder), "trainable": name != "teacher"} for name in ("student", "teacher", "critic")}
    run = {
        "recipe": {"family": "wan", "method": "dmd2"},
        "roles": roles,
        "data": {"path": str(tmp_path / "data"), "num_frames": 5, "num_height": 32, "num_width": 32},
        "method_config": {"dmd_denoising_steps": [1000, 500], "generator_update_interval": 1, "rollout_move": "ode"},
        "training": {"max_train_steps": 2, "train_batch_size": 2, "device": "cpu"},
        "checkpoint": {"interval": 1},
        "output_dir": str(tmp_path / "run"),
    }
    (tmp_path / "run.yaml").write_text(write_yaml(run))
    checked = distill("run", tmp_path / "run.yaml", "--dry-run")
    assert checked.code == 0, checked.err
    assert "the original layout" in checked.out + checked.err
    for more in ("training.max_train_steps=1", "checkpoint.resume=changed"):
        done = distill("run", tmp_path / "run.yaml", more)
        assert done.code == 0, done.err
    exported = distill("export", tmp_path / "run", "--output", tmp_path / "out")
    assert exported.code == 0, exported.err
    trained = WanPipeline.from_pretrained(tmp_path / "out").transformer.state_dict()
    assert trained.keys() == tensors.keys()
    assert not trained["proj_out.weight"].equal(tensors["proj_out.weight"])
