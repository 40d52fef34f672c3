"""What a light look at an LTX-Video folder finds, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from safetensors.torch import load_file, save_file

from distill_core.errors import ModelFolderError
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.loading import load_part
from distill_diffusers.pipeline_folder import Part
from distill_model_ltx.folder import TransformerConfig, VaeConfig, inspect, transformer_shapes


@pytest.fixture
def copy(pipeline: Path, tmp_path: Path) -> Path:
    """A folder to break."""
    return Path(shutil.copytree(pipeline, tmp_path / "copy"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_facts_of_a_folder(facts: DiffusersFacts) -> None:
    space = facts.latent_space
    assert facts.summary == "LTX-Video, 52.6k parameters"
    assert (space.channels, space.temporal_stride, space.spatial_stride) == (8, 4, 8)
    assert (facts.text_width, facts.text_length, facts.patch) == (32, 128, (1, 1, 1))
    assert facts.flow_shift is None, "it depends on the size of the latents"
    assert facts.encoders == ("vae", "text_encoder", "tokenizer")


def test_statistics_are_read_from_the_vaes_weights(facts: DiffusersFacts) -> None:
    assert facts.latent_space.mean == pytest.approx([0.1 * channel for channel in range(8)])
    assert facts.latent_space.std == pytest.approx([1.0 + 0.1 * channel for channel in range(8)])


def test_looking_at_a_folder_imports_no_torch(pipeline: Path) -> None:
    script = (
        "import sys\n"
        "from distill_model_ltx import plugin\n"
        "from distill_model_ltx.folder import inspect\n"
        f"inspect({str(pipeline)!r})\n"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'numpy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {
            "num_layers": 1,
            "num_attention_heads": 2,
            "attention_head_dim": 6,
            "cross_attention_dim": 5,
            "in_channels": 3,
        },
    ],
)
def test_a_transformers_tensors_are_those_of_its_class(config: dict[str, Any]) -> None:
    with torch.device("meta"):
        transformer = LTXVideoTransformer3DModel(**config)
    shapes = {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
    assert transformer_shapes(TransformerConfig.model_validate(config)) == shapes


@pytest.mark.parametrize("config", [{}, {"patch_size": 2, "patch_size_t": 2, "spatio_temporal_scaling": [True] * 4}])
def test_strides_are_those_of_the_class(config: dict[str, Any]) -> None:
    with torch.device("meta"):
        vae = AutoencoderKLLTXVideo(**config)
    ours = VaeConfig.model_validate(config)
    assert ours.strides == (vae.temporal_compression_ratio, vae.spatial_compression_ratio)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        (
            "model_index.json",
            {"_class_name": "LTXConditionPipeline"},
            "is an LTX with conditions, which is not supported",
        ),
        ("model_index.json", {"_class_name": "LTX2Pipeline"}, "is an LTX-2, which makes sound besides"),
        ("transformer/config.json", {"in_channels": 9}, "its transformer takes 9 channels a token, its VAE gives 8"),
        ("transformer/config.json", {"out_channels": 9}, "its VAE takes 8 channels a token, its transformer gives 9"),
        ("transformer/config.json", {"num_layers": 3}, r"lacks transformer_blocks\.2\.scale_shift_table"),
        (
            "text_encoder/config.json",
            {"d_model": 16},
            "its transformer takes 32 features of text, its text encoder gives 16",
        ),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "DDIMScheduler"},
            "its scheduler is a DDIMScheduler, which is not supported",
        ),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    copy: Path, file: str, changes: dict[str, object], words: str
) -> None:
    edit(copy / file, **changes)
    with pytest.raises(ModelFolderError, match=words):
        inspect(str(copy))


def test_a_vae_without_statistics_is_refused(copy: Path) -> None:
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if name != "latents_std"}, file)
    with pytest.raises(ModelFolderError, match="vae lacks latents_std"):
        inspect(str(copy))


def test_weights_that_nobody_wrote_down_are_checked_when_they_are_loaded(copy: Path) -> None:
    file, name = copy / "vae" / "diffusion_pytorch_model.safetensors", "encoder.conv_in.conv.bias"
    save_file({**load_file(file), name: torch.zeros(3)}, file)
    with pytest.raises(
        ModelFolderError, match=r"vae cannot be loaded as a AutoencoderKLLTXVideo: .*; fetch the folder"
    ):
        load_part(inspect(str(copy)), "vae", torch.float32)


def test_a_class_that_the_installed_library_has_not_is_named(facts: DiffusersFacts) -> None:
    later = replace(
        facts.folder, parts={**facts.folder.parts, "vae": Part("vae", "diffusers", "AutoencoderOfTomorrow")}
    )
    with pytest.raises(
        ModelFolderError, match="its vae is a AutoencoderOfTomorrow, which the installed diffusers has not"
    ):
        load_part(replace(facts, folder=later), "vae", torch.float32)
