"""Whole runs of the toy world: what is written, what is resumed, what is left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as to_bytes
from tests.core.conftest import ToyWorld
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load

from distill_core.checkpoint import Checkpoint, Checkpoints
from distill_core.checkpoint.manifest import Manifest
from distill_core.data.reading.stream import RowStream
from distill_core.errors import CheckpointError, DiskFullError, NonFiniteError, RunDirectoryError
from distill_core.running.run_directory import RunDirectory
from distill_core.tracking.events import Events


def final_bytes(directory: RunDirectory, step: int) -> bytes:
    """Every tensor of a checkpoint, as bytes."""
    path = directory.checkpoints / f"step-{step:08d}"
    shapes = Checkpoint(path, step).state()["tensors"]
    assert {"modules", "optimizer", "average"} <= {name.split(".")[2] for name in shapes}
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    dcp_load(tensors, storage_reader=FileSystemReader(path / "dcp"), no_dist=True)
    return to_bytes(tensors)


def final_weights(path: Path) -> dict[str, Any]:
    """Size and hash of the tensors' files, and of the numbers."""
    files = json.loads((path / "manifest.json").read_text())["files"]
    return {name: entry for name, entry in files.items() if name != "dcp/.metadata"}  # names its own folder


def metrics(directory: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in directory.metrics.read_text().splitlines()]


def comparable(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what depends on the clock."""
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]


def with_ema(world: ToyWorld, method: str, **sections: Any) -> dict[str, Any]:
    run = world.mapping(method, **sections)
    run["roles"]["student"]["ema"] = {"decay": 0.9}
    return run


def test_a_run_leaves_what_the_design_says(world: ToyWorld) -> None:
    directory = world.train(with_ema(world, "dmd2", validation={"interval": 6}))
    names = {path.name for path in directory.root.iterdir()}
    assert names >= {
        "run.yaml", "resolved.yaml", "plugins.json", "environment.json", "metrics.jsonl", "events.jsonl",
        "exit_reason.json", "checkpoints", "samples",
    }  # fmt: skip
    assert directory.run_yaml.read_text() == (world.root / "run.yaml").read_text()
    assert json.loads(directory.exit_reason.read_text())["reason"] == "completed"
    lines = metrics(directory)
    assert [line["step"] for line in lines if "critic_loss" in line] == [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in lines if "student_loss" in line] == [6, 10]
    assert {"grad_norm/critic", "learning_rate/student", "steps_per_second"} <= lines[0].keys()
    assert sorted(path.name for path in directory.samples.iterdir()) == ["step-00000006", "step-00000012"]
    assert len(list((directory.samples / "step-00000012").glob("*.mp4"))) == 4
    assert sorted(p.name for p in directory.checkpoints.iterdir()) == [
        "step-00000004",
        "step-00000008",
        "step-00000012",
    ]


@pytest.mark.parametrize("method", ["dmd2", "finetune"])
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 7])
def test_a_resumed_run_ends_bitwise_where_an_uninterrupted_one_does(tmp_path: Path, method: str, stop: int) -> None:
    whole_world, cut_world = ToyWorld(tmp_path / "whole"), ToyWorld(tmp_path / "cut")
    training = {"gradient_accumulation_steps": 2, "max_train_steps": 8, "lr_scheduler": "cosine"}
    options = {"training": training, "checkpoint": {"interval": 1, "keep_last": 9}}
    whole = whole_world.train(with_ema(whole_world, method, **options))
    # A run to 8 steps that dies after `stop`: the later checkpoints never came to be.
    cut = cut_world.train(with_ema(cut_world, method, **options))
    for step in range(stop + 1, 9):
        shutil.rmtree(cut.checkpoints / f"step-{step:08d}", ignore_errors=True)
    if not list(cut.checkpoints.glob("step-*")):
        pytest.fail("keep_last removed what this test resumes from")
    cut = cut_world.train(with_ema(cut_world, method, **options))
    assert final_bytes(whole, 8) == final_bytes(cut, 8)
    assert comparable(metrics(whole)) == comparable(metrics(cut))


def test_validation_tracking_and_saving_leave_training_as_it_is(tmp_path: Path) -> None:
    bare_world, busy_world = ToyWorld(tmp_path / "bare"), ToyWorld(tmp_path / "busy")
    bare = bare_world.train(with_ema(bare_world, "dmd2", checkpoint={"interval": None}))
    busy = busy_world.train(
        with_ema(
            busy_world,
            "dmd2",
            checkpoint={"interval": 1},
            validation={"interval": 1, "at_start": True},
            tracking={"log_interval": 1, "trackers": ["tensorboard"]},
        )
    )
    assert final_bytes(bare, 12) == final_bytes(busy, 12)


def test_two_workers_read_what_none_reads(tmp_path: Path) -> None:
    alone, helped = ToyWorld(tmp_path / "alone"), ToyWorld(tmp_path / "helped")
    first = alone.train(with_ema(alone, "finetune"))
    second = helped.train(with_ema(helped, "finetune", data={"num_workers": 2}))
    assert final_bytes(first, 12) == final_bytes(second, 12)


def test_accumulating_two_halves_is_close_to_one_whole_batch(tmp_path: Path) -> None:
    """The same mean gradient: not bitwise, for the draws are keyed by micro-step; the losses agree in expectation only, so
    the check is on the scale of the gradient."""
    whole, halves = ToyWorld(tmp_path / "whole"), ToyWorld(tmp_path / "halves")
    first = metrics(whole.train(whole.mapping("finetune", training={"train_batch_size": 4, "max_train_steps": 40})))
    accumulated = {"train_batch_size": 2, "gradient_accumulation_steps": 2, "max_train_steps": 40}
    second = metrics(halves.train(halves.mapping("finetune", training=accumulated)))
    mean = [sum(line["grad_norm/student"] for line in lines) / len(lines) for lines in (first, second)]
    assert mean[0] == pytest.approx(mean[1], rel=0.35)


def test_a_slow_roles_schedule_reaches_its_end_at_the_end_of_the_run(world: ToyWorld) -> None:
    directory = world.train(world.mapping("dmd2", training={"lr_scheduler": "linear", "max_train_steps": 10}))
    last = metrics(directory)[-1]  # the rates used: 2 updates of the student, 10 of the critic; the next would be at 0
    assert last["learning_rate/student"] == pytest.approx(0.01 / 2)
    assert last["learning_rate/critic"] == pytest.approx(0.01 / 10)


def test_role_settings_override_the_runs(world: ToyWorld) -> None:
    run = world.mapping("dmd2")
    run["roles"]["critic"] |= {"learning_rate": 0.5, "lr_scheduler": "constant"}
    last = metrics(world.train(run))[-1]
    assert last["learning_rate/critic"] == 0.5
    assert last["learning_rate/student"] == 0.01


def test_the_average_follows_every_update_of_its_role(world: ToyWorld) -> None:
    run = world.mapping("dmd2")
    run["roles"]["student"]["ema"] = {"decay": 0.0}
    run["roles"]["critic"]["ema"] = {"decay": 0.9}
    directory = world.train(run)
    path = directory.checkpoints / "step-00000012"
    shapes = Checkpoint(path, 12).state()["tensors"]
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    Checkpoint(path, 12).load(tensors)
    for name, tensor in tensors.items():
        if ".average." in name:
            trained = tensors[name.replace(".average.", ".modules.")]
            assert torch.equal(tensor, trained) == name.startswith("roles.student"), name


def test_weights_that_the_last_update_broke_are_not_saved(world: ToyWorld) -> None:
    run = world.mapping("finetune", training={"max_train_steps": 1, "learning_rate": 1e39, "max_grad_norm": None})
    with pytest.raises(NonFiniteError, match="after the update of step 1"):
        world.train(run)
    assert not list((world.root / "run").glob("checkpoints/step-*"))


def test_a_run_whose_schedule_spans_it_cannot_be_lengthened(world: ToyWorld) -> None:
    world.train(world.mapping("finetune", training={"lr_scheduler": "cosine"}))
    with pytest.raises(RunDirectoryError, match="max_train_steps"):
        world.train(world.mapping("finetune", training={"lr_scheduler": "cosine", "max_train_steps": 14}))


def test_a_line_of_metrics_that_was_cut_short_is_dropped(world: ToyWorld) -> None:
    directory = world.train(world.mapping("finetune"))
    with directory.metrics.open("a") as file:
        file.write('{"step": 12, "lo\n{"step": 1')
    world.train(world.mapping("finetune", training={"max_train_steps": 14}))
    assert [line["step"] for line in metrics(directory)] == [2, 4, 6, 8, 10, 12, 14]


def test_secrets_stay_in_the_runs_own_yaml(world: ToyWorld) -> None:
    secret = "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"
    run = world.mapping("finetune", tracking={"trackers": ["wandb", "tensorboard"], "wandb_mode": "offline"})
    directory = world.train({**run, "validation": {"prompts": [secret]}})
    assert secret in directory.run_yaml.read_text()
    own = (directory.run_yaml, directory.resolved_yaml)
    assert all(path.stat().st_mode & 0o077 == 0 for path in own)
    for path in directory.root.rglob("*"):
        if path.is_file() and path not in own:
            assert secret.encode() not in path.read_bytes(), path


def test_wandb_disabled_is_no_tracker_and_no_warning(world: ToyWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.train(world.mapping("finetune", tracking={"trackers": ["wandb"], "wandb_mode": "disabled"}))
    assert "warning" not in capsys.readouterr().err


def test_a_finished_run_can_be_lengthened(world: ToyWorld) -> None:
    world.train(world.mapping("finetune"))
    directory = world.train(world.mapping("finetune", training={"max_train_steps": 14}))
    assert [line["step"] for line in metrics(directory)] == [2, 4, 6, 8, 10, 12, 14]


def test_another_run_in_the_same_directory_is_refused_and_loses_nothing(world: ToyWorld) -> None:
    directory = world.train(world.mapping("finetune"))
    before = {path: path.stat().st_mtime_ns for path in directory.root.rglob("*")}
    with pytest.raises(RunDirectoryError, match=r"training.learning_rate: 0.01 there, 0.5 here"):
        world.train(world.mapping("finetune", training={"learning_rate": 0.5}))
    assert before == {path: path.stat().st_mtime_ns for path in directory.root.rglob("*")}


def test_a_directory_that_another_process_trains_in_is_refused(world: ToyWorld) -> None:
    directory = RunDirectory(world.root / "run")
    with directory.locked(), pytest.raises(RunDirectoryError, match="another process trains"):
        world.train(world.mapping("finetune"))
    assert world.train(world.mapping("finetune")).metrics.exists()


def test_a_directory_with_something_else_in_it_is_refused(world: ToyWorld) -> None:
    (world.root / "run").mkdir()
    (world.root / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(RunDirectoryError, match="holds no run"):
        world.train(world.mapping("finetune"))


def test_resume_never_refuses_a_directory_with_checkpoints(world: ToyWorld) -> None:
    world.train(world.mapping("finetune"))
    with pytest.raises(CheckpointError, match="never"):
        world.train(world.mapping("finetune", checkpoint={"resume": "never"}))


def test_only_the_last_checkpoints_are_kept(world: ToyWorld) -> None:
    directory = world.train(world.mapping("finetune", checkpoint={"interval": 2, "keep_last": 2}))
    assert sorted(p.name for p in directory.checkpoints.glob("step-*")) == ["step-00000010", "step-00000012"]


def test_a_damaged_checkpoint_is_passed_over_loudly(world: ToyWorld, capsys: pytest.CaptureFixture[str]) -> None:
    directory = world.train(world.mapping("finetune"))
    shard = next((directory.checkpoints / "step-00000012" / "dcp").glob("*.distcp"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    store = Checkpoints(directory.checkpoints, Events(None), keep_last=3)
    good = store.first_good(Checkpoint.verified)
    assert good is not None
    assert good.step == 8
    assert "damaged" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_made_anew_and_costs_no_good_one(world: ToyWorld) -> None:
    options = {"checkpoint": {"interval": 4, "keep_last": 2}}
    directory = world.train(world.mapping("finetune", **options))
    whole = final_weights(directory.checkpoints / "step-00000012")
    (directory.checkpoints / "step-00000012" / "state.json").write_text("{}")
    world.train(world.mapping("finetune", **options))
    again = Checkpoint(directory.checkpoints / "step-00000012", 12)
    assert again.faults() == []
    assert final_weights(again.path) == whole
    assert sorted(path.name for path in directory.checkpoints.glob("step-*")) == ["step-00000008", "step-00000012"]
    assert len(list(directory.checkpoints.glob("damaged-*"))) == 1


def test_retention_counts_no_checkpoint_that_nobody_has_verified_yet(world: ToyWorld) -> None:
    directory = world.train(world.mapping("finetune", checkpoint={"interval": 3, "keep_last": 9}))
    newest, damaged, good, oldest = sorted(directory.checkpoints.iterdir(), reverse=True)
    (damaged / "state.json").write_text("{}")
    Checkpoints(directory.checkpoints, Events(None), keep_last=2).retain()
    assert sorted(directory.checkpoints.iterdir(), reverse=True) == [newest, damaged, good], oldest


def test_retention_does_not_count_a_damaged_checkpoint(world: ToyWorld) -> None:
    directory = world.train(world.mapping("finetune", checkpoint={"interval": 4, "keep_last": 3}))
    (directory.checkpoints / "step-00000012" / "manifest.json").unlink()
    store = Checkpoints(directory.checkpoints, Events(None), keep_last=1)
    good = store.first_good(Checkpoint.verified)
    assert good is not None
    store.retain()
    assert [path.name for path in sorted(directory.checkpoints.glob("step-*"))] == ["step-00000008", "step-00000012"]


def test_a_run_that_cannot_be_built_says_so_in_its_directory(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill_core.running import session

    def fails(*_: object) -> None:
        raise CheckpointError("no")

    monkeypatch.setattr(session, "build", fails)
    with pytest.raises(CheckpointError):
        world.train(world.mapping("finetune"))
    assert json.loads((world.root / "run" / "exit_reason.json").read_text())["message"] == "no"


def test_when_every_checkpoint_is_damaged_the_run_does_not_start_over(world: ToyWorld) -> None:
    directory = world.train(world.mapping("finetune"))
    for manifest in directory.checkpoints.glob("step-*/manifest.json"):
        manifest.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        world.train(world.mapping("finetune"))


def test_a_save_that_dies_leaves_the_last_one_and_no_litter(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Manifest.write

    def failing(manifest: Manifest, folder: Path) -> None:
        if manifest.step == 8:
            raise OSError(28, "No space left on device")
        write(manifest, folder)

    monkeypatch.setattr(Manifest, "write", failing)
    with pytest.raises(DiskFullError, match="No space"):
        world.train(world.mapping("finetune"))
    assert sorted(p.name for p in (world.root / "run" / "checkpoints").iterdir()) == ["step-00000004"]
    assert json.loads((world.root / "run" / "exit_reason.json").read_text())["reason"] == "error"


def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_saved(world: ToyWorld) -> None:
    run = world.mapping("finetune", training={"learning_rate": 1e30, "max_grad_norm": None}, checkpoint={"interval": 1})
    with pytest.raises(NonFiniteError, match="not finite at step"):
        world.train(run)
    for path in (world.root / "run" / "checkpoints").glob("step-*"):
        state = Checkpoint(path, 0)
        tensors = {name: torch.zeros(shape) for name, shape in state.state()["tensors"].items() if "modules" in name}
        state.load(tensors)
        assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_checkpoint_keeps_how_the_method_samples(world: ToyWorld) -> None:
    directory = world.train(world.mapping("dmd2", method_config={"dmd_denoising_steps": [999, 500, 0]}))
    good = Checkpoints(directory.checkpoints, Events(None), keep_last=3).first_good(Checkpoint.verified)
    assert good is not None
    sampling = good.sampling()
    assert sampling is not None
    assert (sampling.role, sampling.timesteps, sampling.sampler) == ("student", (999.0, 500.0), "sde")


def test_wandb_offline_gets_figures_videos_and_a_redacted_yaml(world: ToyWorld) -> None:
    run = world.mapping(
        "finetune", validation={"interval": 12}, tracking={"trackers": ["wandb"], "wandb_mode": "offline"}
    )
    run["tracking"]["entity"] = "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"
    directory = world.train(run)
    offline = list((directory.trackers / "wandb").rglob("run-*.wandb"))
    assert all(b"grad_norm/student" in file.read_bytes() for file in offline)
    assert b"hf_abcdefghijklmnopqrstuvwxyzABCDEFGH" not in b"".join(
        path.read_bytes()
        for path in (directory.trackers / "wandb").rglob("*")
        if path.name in ("run.yaml", "config.yaml")
    )
    copies = list((directory.trackers / "wandb").rglob("files/run.yaml"))
    assert copies
    assert "max_train_steps" in copies[0].read_text()


def test_a_tracker_that_fails_is_left_out_and_costs_no_training(
    world: ToyWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from distill_core.tracking.tensorboard import TensorBoardTracker

    def fails(*_: object) -> None:
        raise ConnectionError("service is down")

    monkeypatch.setattr(TensorBoardTracker, "log", fails)
    directory = world.train(world.mapping("finetune", tracking={"trackers": ["tensorboard"]}))
    assert [line["step"] for line in metrics(directory)] == [2, 4, 6, 8, 10, 12]
    assert capsys.readouterr().err.count("service is down") == 1


def test_a_run_closes_its_data(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[RowStream] = []
    monkeypatch.setattr(RowStream, "close", lambda stream: closed.append(stream))
    world.train(world.mapping("dmd2", data={"num_workers": 2}))
    assert len(closed) == 1
