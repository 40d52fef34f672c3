"""What a light look at a folder finds, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan

from distill_core.errors import ModelFolderError
from distill_model_wan.folder import WanFolder, inspect
from distill_model_wan.pipeline_json import VaeConfig
from distill_model_wan.testing import Variant

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def copy(pipelines: dict[Variant, Path], tmp_path: Path) -> Path:
    """A t2v folder to break."""
    return Path(shutil.copytree(pipelines["t2v"], tmp_path / "copy"))


def edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_facts_of_a_plain_wan(folders: dict[Variant, WanFolder], pipelines: dict[Variant, Path]) -> None:
    facts = folders["t2v"]
    assert facts.path == pipelines["t2v"]
    assert facts.summary == "Wan 2.1 T2V, 28.3k parameters"
    assert (facts.latent_space.channels, facts.latent_space.temporal_stride, facts.latent_space.spatial_stride) == (
        16,
        4,
        8,
    )
    assert (facts.text_width, facts.text_length, facts.patch, facts.max_positions) == (32, 512, (1, 2, 2), (32, 32, 32))
    assert facts.flow_shift == 3.0
    assert facts.experts == ("transformer",)
    assert facts.boundary is None
    assert facts.folder.hub_id is None


def test_facts_of_two_experts(folders: dict[Variant, WanFolder]) -> None:
    facts = folders["a14b"]
    assert facts.experts == ("transformer", "transformer_2")
    assert facts.boundary == 875.0
    assert facts.summary == "Wan 2.2 T2V with two experts, 2 × 28.3k parameters"


def test_facts_of_ti2v(folders: dict[Variant, WanFolder]) -> None:
    facts = folders["ti2v"]
    assert facts.expand_timesteps
    assert facts.latent_space.channels == 48
    assert facts.latent_space.spatial_stride == 16
    assert facts.latent_space.std[47] == pytest.approx(1.47)
    assert facts.latent_space.difference(folders["ti2v"].latent_space) is None


def test_roles_of_one_and_two_experts_share_a_latent_space(folders: dict[Variant, WanFolder]) -> None:
    assert folders["t2v"].latent_space.difference(folders["a14b"].latent_space) is None
    assert folders["t2v"].latent_space.difference(folders["ti2v"].latent_space) == "channels 16 against 48"


def test_the_defaults_of_a_vae_are_those_of_diffusers() -> None:
    space = VaeConfig.model_validate({"_class_name": "AutoencoderKLWan"}).latent_space
    with torch.device("meta"):
        config = AutoencoderKLWan().config
    assert list(space.mean) == config.latents_mean
    assert list(space.std) == config.latents_std
    assert (space.channels, space.temporal_stride, space.spatial_stride) == (
        config.z_dim,
        config.scale_factor_temporal,
        config.scale_factor_spatial,
    )


def test_a_record_beats_the_scheduler(copy: Path) -> None:
    record = {"text_length": 64, "flow_shift": 8.0, "base_scheduler": {"_class_name": "UniPCMultistepScheduler"}}
    (copy / "distill.json").write_text(json.dumps(record))
    facts = inspect(str(copy))
    assert (facts.text_length, facts.recorded_text_length, facts.flow_shift) == (64, 64, 8.0)


def test_the_shift_of_an_euler_scheduler_is_its_shift(copy: Path) -> None:
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 5.0}
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    assert inspect(str(copy)).flow_shift == 5.0


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        (
            "model_index.json",
            {"_class_name": "WanImageToVideoPipeline"},
            "a WanImageToVideoPipeline takes 36, 20 of them for the picture",
        ),
        ("model_index.json", {"_class_name": "WanVACEPipeline"}, "is a Wan VACE"),
        ("model_index.json", {"_class_name": "WanAnimatePipeline"}, "is a Wan Animate"),
        ("model_index.json", {"_class_name": "SkyReelsV2DiffusionForcingPipeline"}, "is a SkyReels V2"),
        (
            "model_index.json",
            {"_class_name": "FluxPipeline"},
            "a pipeline of class FluxPipeline, which is not supported",
        ),
        (
            "model_index.json",
            {"vae": ["diffusers", "AutoencoderKL"]},
            "its vae is a AutoencoderKL, expected AutoencoderKLWan",
        ),
        ("model_index.json", {"tokenizer": [None, None]}, "lacks tokenizer"),
        ("model_index.json", {"boundary_ratio": 0.9}, "a boundary_ratio but no transformer_2"),
        (
            "model_index.json",
            {"transformer_2": ["diffusers", "WanTransformer3DModel"]},
            "a transformer_2 but no boundary_ratio",
        ),
        (
            "transformer/config.json",
            {"in_channels": 36},
            "its transformer takes an image; name the folder of a WanImage",
        ),
        (
            "transformer/config.json",
            {"image_dim": 1280},
            "its transformer takes an image; name the folder of a WanImage",
        ),
        (
            "transformer/config.json",
            {"in_channels": 48, "out_channels": 48},
            "takes 48 channels and gives 48, its VAE has 16",
        ),
        ("transformer/config.json", {"in_channels": 48}, "is a Wan Fun Control, or another Wan that is shown more"),
        ("transformer/config.json", {"_class_name": "WanVACETransformer3DModel"}, "is a Wan VACE"),
        ("transformer/config.json", {"num_layers": "many"}, "num_layers: Input should be a valid integer"),
        ("text_encoder/config.json", {"d_model": 64}, "takes text of 32 features, its text encoder gives 64"),
        ("vae/config.json", {"attn_scales": [1.0]}, "vae/config.json: attn_scales: Tuple should have at most 0"),
        ("vae/config.json", {"latents_mean": [0.0, 0.0]}, "latents_mean has 2 values for z_dim 16"),
        ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}, "its scheduler is a DDIMScheduler"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    copy: Path, file: str, changes: dict[str, object], words: str
) -> None:
    edit(copy / file, **changes)
    with pytest.raises(ModelFolderError, match=words.replace("(", r"\(")):
        inspect(str(copy))


RELEASES: Mapping[str, Mapping[str, object]] = {
    "a Wan VACE (video editing)": {"_class_name": "VaceWanModel", "model_type": "vace", "in_dim": 16, "out_dim": 16},
    "a Wan Animate": {"_class_name": "WanAnimateModel", "model_type": "i2v", "in_dim": 36, "out_dim": 16},
    "a Wan S2V (speech to video)": {"_class_name": "WanModel_S2V", "in_dim": 16, "out_dim": 16},
    "a Wan Fun Control, or another": {"_class_name": "WanModel", "model_type": "i2v", "in_dim": 48, "out_dim": 16},
    "a Wan Fun Camera": {"_class_name": "WanModel", "in_dim": 32, "out_dim": 16, "add_control_adapter": True},
}
"""Releases of members that are not taken, by the keys of their config.json that tell."""


@pytest.mark.parametrize("place", ["", "transformer", "high_noise_model"])
@pytest.mark.parametrize("what", RELEASES)
def test_a_release_of_a_member_that_is_not_taken_is_called_by_its_name(tmp_path: Path, what: str, place: str) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / "models_t5_umt5-xxl-enc-bf16.pth").touch()
    (tmp_path / place / "config.json").write_text(json.dumps(RELEASES[what]))
    with pytest.raises(
        ModelFolderError, match=f"is {re.escape(what)}.*, which is not supported. Supported are Wan 2.1"
    ):
        inspect(str(tmp_path))


def test_weights_of_a_member_that_is_not_taken_are_not_put_into_another(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "config.json").write_text(json.dumps(RELEASES["a Wan Fun Control, or another"]))
    (tmp_path / "parts.json").write_text(json.dumps({"base": str(copy), "transformer": "control"}))
    with pytest.raises(ModelFolderError, match="control is a Wan Fun Control"):
        inspect(str(tmp_path))


def test_a_release_of_a_member_that_is_taken_is_told_where_to_go(tmp_path: Path) -> None:
    (tmp_path / "models_t5_umt5-xxl-enc-bf16.pth").touch()
    for size in (16, 36):
        (tmp_path / "config.json").write_text(json.dumps({"_class_name": "WanModel", "in_dim": size, "out_dim": 16}))
        with pytest.raises(ModelFolderError, match="it is Wan's original release; name the one in diffusers format"):
            inspect(str(tmp_path))


@pytest.mark.parametrize(
    ("remove", "words"),
    [
        ("model_index.json", "is no diffusers pipeline folder: it has no model_index.json; expected what WanPipeline"),
        ("transformer/config.json", "transformer/config.json is missing"),
        ("tokenizer/tokenizer_config.json", "lacks tokenizer/tokenizer_config.json"),
    ],
)
def test_a_missing_file_is_named(copy: Path, remove: str, words: str) -> None:
    (copy / remove).unlink()
    with pytest.raises(ModelFolderError, match=words):
        inspect(str(copy))


def test_a_part_of_a_pipeline_points_to_the_whole(copy: Path) -> None:
    with pytest.raises(ModelFolderError, match=f"it is a part of one; name {copy}$"):
        inspect(str(copy / "transformer"))


def test_broken_json_is_named(copy: Path) -> None:
    (copy / "vae" / "config.json").write_text("{")
    with pytest.raises(ModelFolderError, match=r"vae/config\.json cannot be read as JSON"):
        inspect(str(copy))


def test_a_mistyped_absolute_path_names_its_neighbours(copy: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"copi does not exist; .* holds copy$"):
        inspect(str(copy.with_name("copi")))


def test_a_mistyped_relative_path_does_not_ask_the_hub(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent.parent)
    with pytest.raises(ModelFolderError, match=r"does not exist; .* holds copy$"):
        inspect(f"{copy.parent.name}/copi")


def test_looking_at_a_folder_imports_no_torch(pipelines: dict[Variant, Path]) -> None:
    script = (
        "import sys\n"
        "from distill_model_wan import plugin\n"
        "from distill_model_wan.folder import inspect\n"
        f"inspect({str(pipelines['t2v'])!r})\n"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'numpy', 'huggingface_hub') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
