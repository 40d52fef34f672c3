"""What a run rests on: that a change of it is seen when the run goes on, and taken only by its name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from rich.console import Console
from tests.core.conftest import ToyWorld, methods, write_data

from distill_core.checkpoint import Checkpoint
from distill_core.errors import CheckpointError, ConfigError, DistillError
from distill_core.running import content, identity
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing.contracts import toy_roles
from distill_core.testing.toy_spec import write_toy_model

EVERY_STEP = {"generator_update_interval": 1}
PLUGINS = {"toy": "model", "dmd2": "method", "other": "method"}


def run(world: ToyWorld, steps: int, *overrides: str, version: str = "1.0") -> RunDirectory:
    """Two steps to a checkpoint; ``version``: of every plugin."""
    mapping = world.mapping(
        "dmd2", training={"max_train_steps": steps}, checkpoint={"interval": 2}, method_config=EVERY_STEP
    )
    prepared = prepare(world.resolved(mapping, *overrides))
    directory = RunDirectory(world.root / "run")
    rows = [
        {"name": name, "kind": kind, "package": f"distill-{name}", "version": version, "status": "ok"}
        for name, kind in PLUGINS.items()
    ]
    train(prepared, directory, rows, Console(quiet=True))
    return directory


def replace_data(world: ToyWorld) -> None:
    """Other latents, in a file of the same name, size and date."""
    (file,) = (world.root / "data").glob("*.parquet")
    before = file.stat()
    write_data(world.root / "other", seed=6)
    file.write_bytes((world.root / "other" / file.name).read_bytes())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def test_frozen_weights_that_were_replaced_in_place_are_refused_by_name_and_taken_by_name(world: ToyWorld) -> None:
    run(world, 2)
    write_toy_model(world.root / "teacher", seed=9)
    with pytest.raises(CheckpointError, match=r"weights.teacher: float32 \w{12} there, float32 \w{12} here") as refused:
        run(world, 4)
    assert "checkpoint.accept=[model.teacher, weights.teacher]" in str(refused.value)
    directory = run(world, 4, "checkpoint.accept=[model.teacher, weights.teacher]")
    assert "weights.teacher" in directory.events.read_text()
    run(world, 6)  # from now on it rests on these


def test_a_data_set_of_equal_names_sizes_and_dates_is_refused_by_name_and_taken_by_name(world: ToyWorld) -> None:
    run(world, 2)
    replace_data(world)
    with pytest.raises(CheckpointError, match=r"\(data: sha256 \w{12} there, sha256 \w{12} here\)"):
        run(world, 4)
    run(world, 4, "checkpoint.accept=[data]")


def test_data_of_more_rows_are_refused_by_name_and_taken_by_name(world: ToyWorld) -> None:
    run(world, 2)
    (file,) = (world.root / "data").glob("*.parquet")
    rows = pyarrow.parquet.read_table(file)
    pyarrow.parquet.write_table(pyarrow.concat_tables([rows, rows]), file, write_page_checksum=True)
    with pytest.raises(CheckpointError, match=r"checkpoint\.accept=\[data\]"):
        run(world, 4)
    directory = run(world, 4, "checkpoint.accept=[data]")
    assert json.loads(directory.metrics.read_text().splitlines()[-1])["step"] == 4
    run(world, 6)  # from now on it rests on these


def test_a_method_and_a_torch_of_another_version_are_refused_by_name(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(world, 2)
    monkeypatch.setattr(torch, "__version__", "2.99.1+cu130")
    with pytest.raises(CheckpointError) as refused:
        run(world, 4, version="2.0")
    message = str(refused.value)
    assert "plugins.dmd2: distill-dmd2 1.0 there, distill-dmd2 2.0 here" in message
    assert "plugins.other" not in message
    assert "2.99.1 here" in message
    (advice,) = (word for word in message.split(" by ")[-1:])
    assert advice == "checkpoint.accept=[plugins.dmd2, plugins.toy, torch]"
    with pytest.raises(CheckpointError, match=r"accept=\[torch, plugins.dmd2, plugins.toy\]"):
        run(world, 4, "checkpoint.accept=[torch]", version="2.0")
    run(world, 4, advice, version="2.0")


def test_settings_are_compared_with_the_checkpoint_where_the_directorys_own_record_is_gone(world: ToyWorld) -> None:
    directory = run(world, 2)
    directory.resolved_yaml.write_text("recipe: {}\n")
    with pytest.raises(CheckpointError, match=r"training.seed: 3 there, 4 here.*by checkpoint.resume=changed"):
        run(world, 4, "training.seed=4")
    assert len(list(directory.root.glob("resolved.yaml.damaged-*"))) == 1
    run(world, 4, "training.seed=4", "checkpoint.resume=changed")


def test_weights_that_a_change_asks_for_and_the_checkpoint_lacks_are_told_with_the_change(world: ToyWorld) -> None:
    run(world, 2)
    with pytest.raises(
        CheckpointError, match=r"has no .*What was changed since \(roles\.student\.ema.*\) makes weights"
    ) as told:
        run(world, 4, "roles.student.ema={decay: 0.5}", "checkpoint.resume=changed")
    assert "put that back, or choose another output_dir" in str(told.value)


def test_a_change_that_was_let_through_and_saved_nothing_is_asked_about_again(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(world, 2)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "manual_seed", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(world, 4, "training.learning_rate=0.5", "checkpoint.resume=changed")
    with pytest.raises(CheckpointError, match=r"training.learning_rate: 0.01 there, 0.5 here"):
        run(world, 4, "training.learning_rate=0.5")


def test_a_name_that_nothing_has_is_refused_with_the_nearest_one(world: ToyWorld) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint.accept: .* 'weights.techer'; did you mean `weights.teacher`\?"):
        run(world, 2, "checkpoint.accept=[weights.techer]")


def test_a_moved_run_goes_on_wherever_its_models_and_data_lie(tmp_path: Path) -> None:
    run(ToyWorld(tmp_path / "here"), 2)
    there = tmp_path / "there"
    there.mkdir()
    for name in ("run", "data", "student", "teacher", "critic"):
        shutil.move(tmp_path / "here" / name, there / f"moved-{name}")
    world = object.__new__(ToyWorld)
    world.root = there
    shutil.move(there / "moved-run", there / "run")
    paths = [f"roles.{role}.path={there}/moved-{role}" for role in ("student", "teacher", "critic")]
    directory = run(world, 4, f"data.path={there}/moved-data", *paths)
    assert Checkpoint(directory.checkpoints / "step-00000004", 4).faults() == []


def test_hashing_files_costs_once(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    sha256 = content.sha256

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return sha256(path)

    monkeypatch.setattr(content, "sha256", counted)
    directory = run(world, 2)
    assert "toy.json" in hashed
    assert any(name.endswith(".parquet") for name in hashed)
    hashed.clear()
    run(world, 4)
    assert hashed == []
    directory.content.write_bytes(b"\xff")
    run(world, 6)
    assert hashed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool])
def test_a_tensors_hash_is_that_of_its_values_however_they_lie(dtype: torch.dtype) -> None:
    tensor = torch.arange(24).reshape(4, 6).to(dtype)
    assert identity.tensor_hash(tensor) == identity.tensor_hash(tensor.t().contiguous().t())
    assert identity.tensor_hash(tensor) != identity.tensor_hash(tensor.roll(1))
    assert identity.tensor_hash(torch.zeros((), dtype=dtype)) != identity.tensor_hash(torch.zeros(0, dtype=dtype))


def test_one_flipped_bit_of_a_frozen_role_changes_its_hash_and_a_trained_one_has_none(world: ToyWorld) -> None:
    roles = toy_roles(methods()[0])
    before = identity.frozen_hash(roles["teacher"])
    weights = next(roles["teacher"].container.parameters())
    weights.data.view(torch.int32).flatten()[-1] ^= 1
    assert identity.frozen_hash(roles["teacher"]) != before
    assert identity.frozen_hash(roles["student"]) is None


def test_weights_that_are_held_in_another_dtype_cannot_be_compared_and_that_is_said(
    world: ToyWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    run(world, 2)
    manifest = Checkpoint(world.root / "run" / "checkpoints" / "step-00000002", 2).manifest()
    rests_on = manifest.identity.rests_on
    assert rests_on["weights.teacher"].startswith("float32:")
    there = {**rests_on, "weights.teacher": "bfloat16:0123", "encoders.toy": "commit:0123"}
    other = manifest.identity.model_copy(update={"rests_on": there})
    manifest.model_copy(update={"identity": other}).write(world.root / "run" / "checkpoints" / "step-00000002")
    run(world, 4)
    err = capsys.readouterr().err
    assert "weights.teacher (bfloat16 there, float32 here) is what it was cannot be told" in err
    assert "encoders.toy (commit there, sha256 here)" in err


def test_secrets_are_in_no_manifest(world: ToyWorld) -> None:
    secret = "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"
    mapping: dict[str, Any] = world.mapping(
        "dmd2", training={"max_train_steps": 1}, method_config=EVERY_STEP, data={"name": secret}
    )
    directory = world.train(mapping)
    (manifest,) = directory.checkpoints.glob("*/manifest.json")
    assert secret not in manifest.read_text()
    assert json.loads(manifest.read_text())["identity"]["settings"]["training.seed"] == 3
    with pytest.raises(DistillError, match=r"data.name"):
        world.train({**mapping, "data": {**mapping["data"], "name": "hf_ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvu"}})
