"""What a family takes, and what is said of a folder that is something else. A family is made up; the folders are JSON and headers alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from distill_core.errors import ModelFolderError
from distill_diffusers.facts import common_facts
from distill_diffusers.pipeline_folder import PipelineFolder, PipelineKind, open_folder

ACME = PipelineKind(
    name="Acme",
    pipeline="AcmePipeline",
    parts={"transformer": ("AcmeTransformer",), "vae": (), "text_encoder": (), "tokenizer": (), "scheduler": ()},
    supported="Supported is Acme 1",
    example="acme/acme-1",
    optional=frozenset({"text_encoder"}),
    others={"AcmeEditPipeline": "an Acme that edits"},
    shapes={"transformer": lambda part: {"weight": (2, 3)}},
)
INDEX = {
    "_class_name": "AcmePipeline",
    "transformer": ["diffusers", "AcmeTransformer"],
    "vae": ["diffusers", "AcmeVae"],
    "text_encoder": [None, None],
    "tokenizer": ["transformers", "TokenizersBackend"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "some_number": 3,
}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """A whole pipeline."""
    folder = tmp_path / "acme"
    write(folder / "model_index.json", INDEX)
    write(folder / "tokenizer" / "tokenizer_config.json", {})
    write(
        folder / "scheduler" / "scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 2.0}
    )
    for part in ("transformer", "vae"):
        write(folder / part / "config.json", {})
        save_file({"weight": torch.zeros(2, 3)}, folder / part / "diffusion_pytorch_model.safetensors")
    return folder


def opened(folder: Path) -> PipelineFolder:
    found = open_folder(str(folder), ACME)
    found.check_parts()
    return found


def test_a_folder_is_what_its_index_says(acme: Path) -> None:
    folder = opened(acme)
    assert folder.experts == ("transformer",)
    assert folder.lent == ("vae", "tokenizer")
    assert common_facts(folder, text_length=64) == {
        "path": acme,
        "folder": folder,
        "text_length": 64,
        "recorded_text_length": None,
        "flow_shift": 2.0,
        "negative_prompt": "",
        "sampling_shift": None,
        "sampling": None,
        "latent_shape": None,
        "encoders": ("vae", "tokenizer"),
        "autoencoder": "vae",
        "decoding": ("decoder.", "post_quant_conv."),
        "told_guidance": None,
        "embedded_guidance": False,
        "frozen_alone": "",
    }


def test_a_shift_that_depends_on_the_size_is_none_of_the_folders(acme: Path) -> None:
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 2.0, "use_dynamic_shifting": True}
    write(acme / "scheduler" / "scheduler_config.json", scheduler)
    assert common_facts(opened(acme), text_length=64)["flow_shift"] is None


def test_an_export_records_how_it_is_sampled(acme: Path) -> None:
    sampling = {"sampler": "sde", "steps": 2, "timesteps": [1000, 500], "vsa": {"sparsity": 0.5, "cube": [4, 4, 4]}}
    write(acme / "distill.json", {"sampling": sampling, "text_length": 8, "flow_shift": 7.0})
    facts = common_facts(opened(acme), text_length=64)
    request = facts["sampling"]
    assert request is not None
    assert (request.sampler, request.steps, request.timesteps) == ("sde", None, (1000.0, 500.0))
    assert (request.attn_kind, request.sparsity) == ("vsa", 0.5)
    assert (facts["text_length"], facts["recorded_text_length"], facts["flow_shift"]) == (8, 8, 7.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_class_name": "AcmeEditPipeline"}, "is an Acme that edits, which is not supported. Supported is Acme 1"),
        ({"_class_name": "Other"}, "is a pipeline of class Other, which is not supported"),
        ({"vae": [None, None]}, "lacks vae; a Acme pipeline saved whole has them"),
        ({"vae": "somewhere"}, "lacks vae"),
        ({"transformer": ["diffusers", "Other"]}, "its transformer is a Other, expected AcmeTransformer"),
        ({"vae": ["acme_code", "AcmeVae"]}, "its vae is a AcmeVae, expected one of diffusers or transformers"),
    ],
)
def test_another_pipeline_is_named(acme: Path, changes: dict[str, object], words: str) -> None:
    write(acme / "model_index.json", {**INDEX, **changes})
    with pytest.raises(ModelFolderError, match=words):
        opened(acme)


def test_a_folder_of_single_files_says_how_to_put_a_model_together_of_them(tmp_path: Path) -> None:
    (tmp_path / "acme.safetensors").touch()
    with pytest.raises(
        ModelFolderError, match=r"files; of acme.safetensors, .* the file parts\.json, \{\"base\": \"acme/"
    ):
        open_folder(str(tmp_path), ACME)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("diffusion_pytorch_model.ema.safetensors", r"as the variant ema alone.*\(variant='ema'\) and save it"),
        (
            "diffusion_pytorch_model.gguf",
            r"holds diffusion_pytorch_model\.gguf, and no .* name a denoiser's file in parts\.json",
        ),
        ("Wan2.1_VAE.pth", r"holds Wan2\.1_VAE\.pth, and no .* any other part from a folder in diffusers format"),
        ("pytorch_lora_weights.safetensors", r"vae is a LoRA .*, and the LoRA under fixed_loras"),
        ("diffusion_pytorch_model.bin", "are pickles"),
        ("notes.txt", r"holds no diffusion_pytorch_model\.safetensors; the folder is incomplete"),
    ],
)
def test_weights_of_another_kind_are_called_by_their_name(acme: Path, there: str, words: str) -> None:
    (acme / "vae" / "diffusion_pytorch_model.safetensors").rename(acme / "vae" / there)
    with pytest.raises(ModelFolderError, match=words):
        opened(acme)


def test_quantized_weights_are_called_so(acme: Path) -> None:
    write(acme / "vae" / "config.json", {"quantization_config": {"quant_method": "bitsandbytes"}})
    with pytest.raises(ModelFolderError, match=r"vae holds weights that are quantized \(bitsandbytes\)"):
        opened(acme)


def test_shapes_are_checked_where_the_family_wrote_them_down(acme: Path) -> None:
    save_file({"weight": torch.zeros(9)}, acme / "vae" / "diffusion_pytorch_model.safetensors")
    opened(acme)
    save_file({"weight": torch.zeros(9)}, acme / "transformer" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ModelFolderError, match=r"weight has the shape \[9\], its config.json calls for \[2, 3\]"):
        opened(acme)


@pytest.mark.parametrize("part", ["tokenizer/tokenizer_config.json", "vae/config.json"])
def test_a_part_that_does_not_say_what_it_is_is_named(acme: Path, part: str) -> None:
    (acme / part).unlink()
    with pytest.raises(ModelFolderError, match=f"lacks {part}; the folder is incomplete"):
        opened(acme)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_small_vector_is_read_from_the_weights(acme: Path, dtype: torch.dtype) -> None:
    values = torch.tensor([-1.5, 0.0, 3.140625], dtype=dtype)
    tensors = {"before": torch.zeros(5), "mean": values, "zlast": torch.ones(2)}
    save_file(tensors, acme / "vae" / "diffusion_pytorch_model.safetensors")
    assert opened(acme).vector("vae", "mean", 3) == tuple(values.tolist())


@pytest.mark.parametrize(("name", "words"), [("std", "lacks std"), ("weight", r"a F32 tensor of the shape \[2, 3\]")])
def test_a_vector_that_is_not_there_is_named(acme: Path, name: str, words: str) -> None:
    with pytest.raises(ModelFolderError, match=words):
        opened(acme).vector("vae", name, 3)


def test_weights_of_a_hubs_folder_come_later(acme: Path) -> None:
    folder = replace(opened(acme), hub_id="acme/acme-1")
    (acme / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    folder.check_parts()
    (acme / "tokenizer" / "tokenizer_config.json").unlink()
    with pytest.raises(ModelFolderError, match=r"lacks tokenizer/tokenizer_config\.json"):
        folder.check_parts()
