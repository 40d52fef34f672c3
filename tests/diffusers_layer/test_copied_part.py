"""An export takes along what the format of a part names, and nothing else that lies in the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from distill_core.errors import ModelFolderError
from distill_diffusers.copied_part import copy_licences, copy_part, named_files


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A text encoder with its weights in two files, and much else."""
    folder = tmp_path / "model" / "text_encoder"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    shards = {}
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file({f"w{number}": torch.zeros(2)}, folder / name)
        shards[f"w{number}"] = name
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for name in ("setup.py", "modeling_custom.py", "pytorch_model.bin", ".env", "notes.md", "model-old.safetensors"):
        (folder / name).write_text("x")
    (folder / "more").mkdir()
    return folder


KEPT = [
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
]


def test_code_pickles_notes_and_stray_weights_are_left_out_and_that_is_said(
    part: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_part(part, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == KEPT
    assert (tmp_path / "out" / KEPT[1]).read_bytes() == (part / KEPT[1]).read_bytes()
    err = capsys.readouterr().err
    assert (
        "not copied: .env, model-old.safetensors, modeling_custom.py, more, notes.md, pytorch_model.bin, setup.py"
        in err
    )


def test_a_tokenizer_is_copied_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    names = ["special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer_config.json"]
    for name in (*names, "tokenization_custom.py"):
        (folder / name).write_text("x")
    assert named_files(folder) == names


def test_a_link_to_something_private_is_refused_and_its_content_goes_nowhere(part: Path, tmp_path: Path) -> None:
    private = tmp_path / "id_ed25519"
    private.write_text("private")
    (part / "config.json").unlink()
    (part / "config.json").symlink_to(private)
    with pytest.raises(ModelFolderError, match=r"config.json is a link to .*id_ed25519.*put the file there"):
        copy_part(part, tmp_path / "out")
    (part.parent / "LICENSE").symlink_to(private)
    with pytest.raises(ModelFolderError, match="LICENSE is a link"):
        copy_licences(part.parent, tmp_path)
    assert "private" not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())


def test_links_of_the_hubs_cache_and_of_shared_weights_are_followed(part: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--x--y"
    snapshot = repository / "snapshots" / ("0" * 40)
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(part.glob("*.json"))):
        file.rename(repository / "blobs" / str(number))
        file.symlink_to(repository / "blobs" / str(number))
    elsewhere = tmp_path / "weights.safetensors"
    (part / KEPT[1]).rename(elsewhere)
    (part / KEPT[1]).symlink_to(elsewhere)
    part.rename(snapshot / "text_encoder")
    copy_part(snapshot / "text_encoder", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if not path.is_symlink()) == KEPT


def test_an_index_that_names_files_outside_is_refused(part: Path, tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "x.safetensors")
    index = {"weight_map": {"w": "../../x.safetensors"}}
    (part / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFolderError):
        copy_part(part, tmp_path / "out")
    assert not (tmp_path / "out").exists()
