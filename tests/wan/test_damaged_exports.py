"""An export is, to the bit, what was exported, or it is refused by the name of the file that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from distill_core.errors import ModelFolderError
from distill_core.protocols import ModelRequest, ValidationRequest
from distill_core.training.roles import RoleHandle
from distill_diffusers.loading import load_part, load_tokenizer
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import WanFolder, inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

REQUEST = ValidationRequest("student", "sde", timesteps=(1000.0, 500.0), guidance_scale=1.0)


@pytest.fixture
def export(
    make_model: Callable[..., WanModel],
    make_role: Callable[..., RoleHandle],
    folders: dict[Variant, WanFolder],
    tmp_path: Path,
) -> Path:
    model = make_model()
    modules = make_role(model).modules
    model.export(modules, folders["t2v"], replace(REQUEST), (2, 16, 4, 4), tmp_path / "export", torch.float32)
    return tmp_path / "export"


def load(folder: Path) -> None:
    """Everything that a command loads of a folder."""
    facts = inspect(str(folder))
    WanModel(facts, WanOptions(), torch.device("cpu"), torch.float32).load_modules(
        ModelRequest(facts, False, torch.float32)
    )
    for part in ("vae", "text_encoder"):
        load_part(facts, part, torch.float32)
    load_tokenizer(facts)


def test_every_file_but_the_readme_is_on_record_and_a_whole_export_loads(export: Path) -> None:
    files = {file.relative_to(export).as_posix() for file in export.rglob("*") if file.is_file()}
    assert set(json.loads((export / "distill.json").read_text())["files"]) == files - {"README.md", "distill.json"}
    load(export)


def test_one_flipped_bit_in_any_file_of_an_export_is_found_by_whoever_loads_it(export: Path) -> None:
    files = [file for file in sorted(export.rglob("*")) if file.is_file() and file.name != "README.md"]
    assert len(files) > 9
    for file in files:
        content = file.read_bytes()
        bit = Random(file.name).randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        with pytest.raises(
            ModelFolderError,
            match=r"is not what was exported; copy the export again|cannot be read as JSON|or is damaged",
        ):
            load(export)
        file.write_bytes(content)


def test_an_export_that_was_changed_on_purpose_loads_without_its_hashes(export: Path) -> None:
    record = json.loads((export / "distill.json").read_text())
    config = export / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text())))
    with pytest.raises(
        ModelFolderError, match=r"vae/config\.json is not what was exported.*remove `files` and `sha256`"
    ):
        load(export)
    del record["files"], record["sha256"]
    (export / "distill.json").write_text(json.dumps(record))
    load(export)
