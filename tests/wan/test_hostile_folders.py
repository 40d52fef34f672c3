"""Folders that bring code, point out of themselves, or are built to cost time: one error that names the file, soon, and nothing is run."""

from __future__ import annotations

import ast
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import distill_core
import distill_diffusers
import distill_model_wan
from distill_core.errors import ModelFolderError
from distill_diffusers.loading import load_part, load_tokenizer
from distill_model_wan.folder import WanFolder, inspect
from distill_model_wan.testing import Variant

SECONDS = 5.0
"""No refusal takes longer; one of a folder that is built to cost time would take minutes."""


@pytest.fixture
def hostile(pipelines: dict[Variant, Path], tmp_path: Path) -> Path:
    """A folder to make hostile."""
    return Path(shutil.copytree(pipelines["t2v"], tmp_path / "hostile"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(folder: Path) -> str:
    began = time.monotonic()
    with pytest.raises(ModelFolderError) as refused:
        inspect(str(folder)).folder.check_parts()
    assert time.monotonic() - began < SECONDS
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "file",
    ["tokenizer/tokenizer_config.json", "text_encoder/config.json", "vae/config.json", "transformer/config.json"],
)
def test_a_part_that_brings_code_is_refused_by_name_and_its_code_is_not_run(hostile: Path, file: str) -> None:
    canary = hostile / "ran"
    (hostile / file).with_name("custom.py").write_text(f"open({str(canary)!r}, 'w')\nclass Custom: ...\n")
    edit(hostile / file, auto_map={"AutoTokenizer": ["custom.Custom", None], "AutoModel": "custom.Custom"})
    assert refusal(hostile).startswith(f"{hostile / file} brings code of its own (auto_map)")
    assert not canary.exists()


def test_a_tokenizer_that_brings_code_is_not_loaded_by_whoever_asks_for_it(
    hostile: Path, folders: dict[Variant, WanFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = inspect(str(hostile))
    edit(hostile / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": ["custom.Custom", None]})
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a person was asked whether to run it"))
    with pytest.raises(ModelFolderError, match="auto_map"):
        load_tokenizer(facts)


def test_a_tokenizer_that_is_damaged_is_one_error(hostile: Path) -> None:
    facts = inspect(str(hostile))
    (hostile / "tokenizer" / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(
        ModelFolderError, match=r"tokenizer cannot be loaded as a tokenizer: .*; fetch the folder again"
    ):
        load_tokenizer(facts)


def test_a_config_that_a_library_trips_over_is_one_error(hostile: Path) -> None:
    """A flipped bit in the name of an activation is a KeyError of transformers'."""
    edit(hostile / "text_encoder" / "config.json", dense_act_fn="'elu_new")
    with pytest.raises(ModelFolderError, match=r"text_encoder cannot be loaded as a UMT5EncoderModel: .*'elu_new"):
        load_part(inspect(str(hostile)), "text_encoder", torch.float32)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_attention_that_would_be_fetched_from_elsewhere_is_refused_by_name(hostile: Path, key: str) -> None:
    file = hostile / "text_encoder" / "config.json"
    edit(file, **{key: "kernels-community/flash-attn3"})
    assert refusal(hostile).startswith(f"{file} asks for the attention 'kernels-community/flash-attn3'")


@pytest.mark.parametrize("inside", ["text_config", "vision_config"])
@pytest.mark.parametrize(
    ("key", "what"), [("_attn_implementation", "attention"), ("experts_implementation", "experts")]
)
def test_kernels_that_a_config_inside_a_config_asks_for_are_refused_by_name(
    hostile: Path, inside: str, key: str, what: str
) -> None:
    file = hostile / "text_encoder" / "config.json"
    edit(file, **{inside: [{"deeper": {key: "kernels-community/any"}}]})
    assert refusal(hostile).startswith(f"{file} asks for the {what} 'kernels-community/any'")


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "..", "a/b.safetensors", ""])
def test_an_index_that_names_a_file_elsewhere_is_refused(hostile: Path, name: str) -> None:
    index = hostile / "vae" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"encoder.conv_in.weight": name}}))
    assert refusal(hostile).startswith(f"{index} names {name!r}, which is no file of its folder")


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("transformer/config.json", "num_layers", 10**8),
        ("transformer/config.json", "num_layers", -1),
        ("text_encoder/config.json", "num_layers", 10**8),
        ("vae/config.json", "num_res_blocks", 10**8),
        ("vae/config.json", "dim_mult", [1] * 100_000),
        ("vae/config.json", "dim_mult", []),
    ],
)
def test_numbers_that_would_cost_minutes_are_one_error_at_once(
    hostile: Path, file: str, key: str, value: object
) -> None:
    edit(hostile / file, **{key: value})
    said = refusal(hostile)
    assert said.startswith(f"{hostile / file}: {key}: ")


def test_levels_that_contradict_each_other_are_one_error(hostile: Path) -> None:
    edit(hostile / "vae" / "config.json", temperal_downsample=[])
    assert "temperal_downsample has too few values" in refusal(hostile)


@pytest.mark.parametrize(
    "file",
    ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json", "transformer/config.json",
     "vae/config.json", "text_encoder/config.json", "distill.json"],
)  # fmt: skip
def test_json_that_is_nested_without_end_is_one_error(hostile: Path, file: str) -> None:
    (hostile / file).write_text('{"a":' * 100_000)
    assert str(hostile / file) in refusal(hostile)


def test_weights_whose_header_is_nested_without_end_are_one_error(hostile: Path) -> None:
    header = b'{"a":' * 100_000
    file = hostile / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "is no safetensors file, or is damaged" in refusal(hostile)


def test_no_class_of_a_library_is_chosen_by_a_folder_without_refusing_its_code() -> None:
    """`Auto…` classes do what a folder says."""
    sources = [
        path
        for package in (distill_core, distill_diffusers, distill_model_wan)
        for path in Path(str(package.__file__)).parent.rglob("*.py")
    ]
    calls = [
        call
        for path in sources
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "from_pretrained"
    ]
    automatic = [call for call in calls if "Auto" in ast.unparse(call.func)]
    assert automatic
    for call in automatic:
        assert {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}["trust_remote_code"] == "False"
