"""Wan models put together of parts: variants, compiled names, a transformer alone with its base, what is no model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline
from safetensors.torch import save_file
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture
from tests.wan.stored_forms import WEIGHTS, Put, assert_same, loaded, original
from torch import Tensor

from distill_core.config.document import write_yaml
from distill_core.errors import ModelFolderError
from distill_diffusers.copied_part import copy_part
from distill_diffusers.loading import load_part
from distill_diffusers.parts_file import PARTS
from distill_model_wan.folder import inspect


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
