"""What is no folder of the family's is refused by one clear error, before anything is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.families.conftest import FRAMES, Family

from distill_core.errors import ModelFolderError
from distill_core.plugins.discovery import discover
from distill_core.plugins.recognition import owners
from distill_core.protocols import ValidationRequest


@pytest.fixture
def copy(family: Family, tmp_path: Path) -> Path:
    """A folder to break."""
    return Path(shutil.copytree(family.folder, tmp_path / "copy"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_of_another_family_is_named(family: Family, make_family: Callable[[str], Family]) -> None:
    other = make_family(next(name for name in FRAMES if name != family.name))
    with pytest.raises(ModelFolderError, match=r"which is not supported\. Supported ") as refusal:
        family.look(other.folder)
    assert owners(str(other.folder), refusal.value, discover()) == (other.name,)


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
    kind = family.facts.folder.kind
    for name, shape in {**kind.shapes, **kind.key_shapes}["transformer"](copy / "transformer").items():
        stored = load_file(copy / "transformer" / "diffusion_pytorch_model.safetensors")
        assert tuple(stored[name].shape) == shape
    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(file), name: torch.zeros(3)}, file)
    with pytest.raises(ModelFolderError, match=f"{name} has the shape"):
        family.look(copy)


NF4 = {
    "_load_in_4bit": True,
    "_load_in_8bit": False,
    "bnb_4bit_compute_dtype": "bfloat16",
    "bnb_4bit_quant_storage": "uint8",
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "load_in_4bit": True,
    "load_in_8bit": False,
    "quant_method": "bitsandbytes",
}
INT8 = {"_load_in_8bit": True, "llm_int8_threshold": 6.0, "load_in_8bit": True, "quant_method": "bitsandbytes"}
"""What save_pretrained writes of a model that bitsandbytes quantized."""


@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
@pytest.mark.parametrize("written", [NF4, INT8], ids=["nf4", "int8"])
def test_weights_that_bitsandbytes_quantized_are_refused_with_the_way_on(
    family: Family, copy: Path, part: str, written: Mapping[str, object]
) -> None:
    edit(copy / part / "config.json", quantization_config=written)
    file = next((copy / part).glob("*.safetensors"))
    save_file({name: torch.zeros(tensor.numel(), 1).byte() for name, tensor in load_file(file).items()}, file)
    with pytest.raises(
        ModelFolderError, match=rf"{part} holds weights that are quantized \(bitsandbytes\).*`weights: nf4`"
    ):
        family.look(copy)


def test_a_text_encoder_that_is_not_there_is_named(family: Family, copy: Path) -> None:
    shutil.rmtree(copy / "text_encoder")
    with pytest.raises(ModelFolderError, match=r"text_encoder/config\.json.*the folder is incomplete, fetch it again"):
        family.look(copy)
    edit(copy / "model_index.json", text_encoder=[None, None])
    with pytest.raises(ModelFolderError, match=r"lacks text_encoder; a .* pipeline saved whole has them"):
        family.look(copy)


def test_a_scheduler_that_samples_no_flow_is_refused(family: Family, copy: Path) -> None:
    index = json.loads((copy / "model_index.json").read_text())
    edit(copy / "model_index.json", scheduler=["diffusers", "DDPMScheduler"])
    assert index["scheduler"][1] != "DDPMScheduler"
    with pytest.raises(ModelFolderError, match="its scheduler is a DDPMScheduler, expected"):
        family.look(copy)


def test_what_flux_2_is_not_guided_by_has_no_export(make_family: Callable[[str], Family], tmp_path: Path) -> None:
    family = make_family("flux2")
    request = ValidationRequest("student", timesteps=(1000.0,), guidance_scale=3.0, negative_prompt="blurred")
    model = family.model()
    modules = family.role(model).modules
    with pytest.raises(ModelFolderError, match="away from the empty caption alone, not from 'blurred'"):
        model.export(modules, family.facts, request, family.shape, tmp_path / "out", torch.float32)
    testing = import_module("distill_model_flux.klein.testing")
    distilled = family.look(testing.make_tiny_pipeline(tmp_path / "distilled", distilled=True))
    assert distilled.summary.endswith("distilled to few steps")
    with pytest.raises(ModelFolderError, match=r"is_distilled; sample it with a guidance scale of 1"):
        model.export(modules, distilled, request, family.shape, tmp_path / "out", torch.float32)


def test_a_hunyuanvideo_1_5_of_pictures_or_of_another_text_length_is_refused(
    make_family: Callable[[str], Family], tmp_path: Path
) -> None:
    family = make_family("hunyuanvideo15")
    copy = Path(shutil.copytree(family.folder, tmp_path / "copy"))
    for change, words in (({"task_type": "i2v"}, "is made for i2v"), ({"use_meanflow": True}, "told two timesteps")):
        edit(copy / "transformer" / "config.json", **{"task_type": "t2v", "use_meanflow": False, **change})
        with pytest.raises(ModelFolderError, match=words):
            family.look(copy)
    with pytest.raises(ModelFolderError, match="takes 1000 tokens, whatever it is asked for"):
        family.model(text_length=256)


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
