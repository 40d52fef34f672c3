"""Weights that are not whole, or not those of their config.json: refused by name, by the light look at the folder and by loading."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import UMT5EncoderModel

from distill_core.errors import ModelFolderError
from distill_diffusers.loading import load_part
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import WanFolder, inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

MakeModel = Callable[..., WanModel]
FILES = {
    "transformer": "diffusion_pytorch_model.safetensors",
    "transformer_2": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
SOME = {
    "transformer": "blocks.1.attn2.norm_k.weight",
    "transformer_2": "patch_embedding.bias",
    "vae": "decoder.mid_block.resnets.1.conv1.weight",
    "text_encoder": "encoder.block.0.layer.0.SelfAttention.q.weight",
}


@pytest.fixture
def copy(pipelines: dict[Variant, Path], tmp_path: Path) -> Path:
    """A folder with two experts, to break."""
    return Path(shutil.copytree(pipelines["a14b"], tmp_path / "copy"))


def rewrite(file: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize("part", FILES)
def test_a_tensor_that_is_missing_is_named(copy: Path, part: str) -> None:
    rewrite(copy / part / FILES[part], lambda tensors: tensors.pop(SOME[part]))
    with pytest.raises(ModelFolderError, match=f"copy/{part} lacks {SOME[part]}, which its config.json calls for"):
        inspect(str(copy))


@pytest.mark.parametrize("part", FILES)
def test_a_tensor_of_another_shape_is_named(copy: Path, part: str) -> None:
    rewrite(copy / part / FILES[part], lambda tensors: tensors.update({SOME[part]: torch.zeros(3, 5)}))
    with pytest.raises(ModelFolderError, match=rf"{SOME[part]} has the shape \[3, 5\], its config.json calls for \["):
        inspect(str(copy))


@pytest.mark.parametrize("part", FILES)
def test_a_file_that_is_cut_short_is_named(copy: Path, part: str) -> None:
    file = copy / part / FILES[part]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelFolderError, match=f"{file} is damaged: it has [0-9]+ bytes, its header speaks of"):
        inspect(str(copy))


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{", b"<html>not found</html>", b"\x02\0\0\0\0\0\0\0[]"])
def test_a_file_that_is_no_safetensors_file_is_named(copy: Path, content: bytes) -> None:
    file = copy / "vae" / FILES["vae"]
    file.write_bytes(content)
    with pytest.raises(ModelFolderError, match=f"{file} is no safetensors file, or is damaged"):
        inspect(str(copy))


def test_a_pointer_of_git_lfs_says_how_to_get_the_weights(copy: Path) -> None:
    (copy / "vae" / FILES["vae"]).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ModelFolderError, match="run `git lfs pull`"):
        inspect(str(copy))


def test_many_missing_tensors_are_counted(copy: Path) -> None:
    config = copy / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_layers": 3}))
    with pytest.raises(ModelFolderError, match=r"lacks blocks\.2\.attn1\.to_q\.weight, .* and 24 more"):
        inspect(str(copy))


def test_a_missing_file_and_a_pickle_are_told_apart(copy: Path) -> None:
    file = copy / "transformer" / FILES["transformer"]
    file.unlink()
    with pytest.raises(ModelFolderError, match=r"transformer holds no diffusion_pytorch_model\.safetensors"):
        inspect(str(copy))
    file.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ModelFolderError, match=r"holds \.bin files, which are pickles, and distill loads none"):
        inspect(str(copy))


@pytest.fixture
def sharded(copy: Path) -> Path:
    """The text encoder's folder, its weights in several files."""
    encoder = UMT5EncoderModel.from_pretrained(copy / "text_encoder")
    (copy / "text_encoder" / FILES["text_encoder"]).unlink()
    encoder.save_pretrained(copy / "text_encoder", max_shard_size="20KB")
    return copy / "text_encoder"


def test_shards_are_found_by_their_index(sharded: Path, make_model: MakeModel) -> None:
    folder = inspect(str(sharded.parent))
    assert len(list(sharded.glob("*.safetensors"))) > 1
    assert load_part(folder, "text_encoder", torch.float32).shared.weight.shape[1] == 32


def test_a_shard_that_is_missing_is_named(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ModelFolderError, match=f"text_encoder lacks {shard.name}, which its index names"):
        inspect(str(sharded.parent))


@pytest.mark.parametrize(("index", "words"), [("{}", "has no weight_map"), ("{", "cannot be read as JSON")])
def test_a_broken_index_is_named(sharded: Path, index: str, words: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelFolderError, match=f"index.json {words}"):
        inspect(str(sharded.parent))


def test_a_shared_embedding_may_go_by_its_other_name(copy: Path) -> None:
    def rename(tensors: dict[str, Tensor]) -> None:
        tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")

    before = load_part(inspect(str(copy)), "text_encoder", torch.float32).shared.weight
    rewrite(copy / "text_encoder" / FILES["text_encoder"], rename)
    after = load_part(inspect(str(copy)), "text_encoder", torch.float32)
    assert after.encoder.embed_tokens.weight.equal(before)


def test_tensors_that_nothing_calls_for_are_none_of_our_business(copy: Path) -> None:
    rewrite(copy / "vae" / FILES["vae"], lambda tensors: tensors.update({"extra": torch.zeros(1)}))
    assert inspect(str(copy)).path == copy


def test_what_a_hub_sent_is_checked_when_it_is_loaded(
    copy: Path, folders: dict[Variant, WanFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_diffusers.pipeline_folder.fetch", lambda *_: None)
    rewrite(copy / "vae" / FILES["vae"], lambda tensors: tensors.pop(SOME["vae"]))
    facts = folders["a14b"]
    hub = replace(facts, path=copy, folder=replace(facts.folder, path=copy, hub_id="some-org/some-wan"))
    with pytest.raises(ModelFolderError, match=f"vae lacks {SOME['vae']}, which its config.json calls for"):
        WanModel(hub, WanOptions(), torch.device("cpu"), torch.float32).codec.decode(torch.zeros(16, 1, 2, 2))


def test_a_class_with_tensors_that_the_folder_lacks_is_refused(
    folders: dict[Variant, WanFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a later version of a class might need and this one's list of tensors does not know."""

    class Later(UMT5EncoderModel):
        def __init__(self, config: object) -> None:
            super().__init__(config)
            self.later = torch.nn.Linear(2, 2)

    with pytest.raises(ModelFolderError, match=r"lacks later\.bias, later\.weight, which the installed Later has"):
        load_part(folders["t2v"], "text_encoder", torch.float32, Later)
