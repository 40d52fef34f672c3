"""The recipe of the medium world's teacher at reduced size: its own commands, on a few clips."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lengthen
import pytest
import torch
from clips import read_clips
from diffusers import AutoencoderKLWan
from lengthen import Lengthening
from safetensors.torch import load_file
from tests.recipes import run_recipe
from tests.shapes.test_shapes_recipe import SHAPES, command
from torch import Tensor

from distill_core.errors import CheckpointError
from distill_metric_shapes.captions import MEDIUM, SMALL, Setting
from distill_metric_shapes.measure import accuracy, measure

MEDIUM_TEACHER = SHAPES / "medium-teacher"


@pytest.mark.slow
def test_the_medium_recipe_draws_encodes_trains_and_is_judged(tmp_path: Path) -> None:
    clips, data = tmp_path / "clips", tmp_path / "data"
    command(SHAPES / "draw.py", "--output", clips, "--clips", 4, "--setting", "medium")
    command("-m", "distill_core", "data", "encode", clips, "--model", SHAPES / "teacher", "--output", data)
    run = run_recipe(
        "medium", tmp_path / "run", f"data.path={data}", "training.cpu_threads=1", "comparison.rows.20 steps.steps=1"
    )
    (line,) = json.loads((run.comparison / "table.json").read_text())["lines"]
    assert 0.0 <= line["figures"]["shapes/all_correct"] <= 1.0


@pytest.mark.slow
def test_a_decoder_that_is_lengthened_leaves_the_encoder_and_all_else_as_it_was(tmp_path: Path) -> None:
    base, exported = tmp_path / "base", tmp_path / "exported"
    shutil.copytree(SHAPES / "teacher", exported)
    record = json.loads((exported / "distill.json").read_text())
    (exported / "distill.json").write_text(json.dumps(record | {"files": {"vae/config.json": "0"}, "sha256": "0"}))
    command(
        SHAPES / "lengthen.py",
        exported,
        "--output",
        base,
        "--steps",
        2,
        "--clips",
        2,
        "--setting",
        "small",
        "--frames",
        13,
    )
    assert json.loads((base / "distill.json").read_text()) == record
    weights = "vae/diffusion_pytorch_model.safetensors"
    before, after = load_file(SHAPES / "teacher" / weights), load_file(base / weights)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"decoder", "post_quant_conv"}
    assert {name: tensor.dtype for name, tensor in after.items()} == {
        name: tensor.dtype for name, tensor in before.items()
    }
    others = {path.relative_to(base) for path in base.rglob("*") if path.is_file() and path.parent.name != "vae"}
    assert others == {
        p.relative_to(SHAPES / "teacher")
        for p in (SHAPES / "teacher").rglob("*")
        if p.is_file() and p.parent.name != "vae"
    }
    others.remove(Path("distill.json"))
    assert all((base / path).read_bytes() == (SHAPES / "teacher" / path).read_bytes() for path in others)


def test_a_decoder_is_lengthened_for_whole_latent_frames_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["lengthen.py", str(SHAPES / "teacher"), "--output", str(tmp_path / "long"), "--frames", "16"]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit, match="2"):
        lengthen.main()
    assert "--frames is 4n + 1, as the VAE has it: 13, not 16" in capsys.readouterr().err
    assert not (tmp_path / "long").exists()


@pytest.mark.parametrize(("asked", "frames"), [(["--frames", "13"], 13), ([], SMALL.frames)])
def test_a_decoder_is_lengthened_for_the_frames_that_are_asked_for_or_the_settings_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], frames: int
) -> None:
    found = list[tuple[Setting, Lengthening]]()
    monkeypatch.setattr(lengthen, "lengthen", lambda *arguments: found.append(arguments[2:]))
    own = ["lengthen.py", "teacher", "--output", str(tmp_path / "long"), "--setting", "small", "--steps", "3"]
    monkeypatch.setattr(sys, "argv", [*own, *asked])
    lengthen.main()
    ((setting, training),) = found
    assert (setting.name, setting.frames, training.steps) == ("small", frames, 3)


@pytest.mark.parametrize(("setting", "border"), [(SMALL, True), (MEDIUM, False)])
def test_a_border_counts_where_it_is_the_clips_own_and_not_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: Setting, border: bool
) -> None:
    """What comes back is a tensor of ours, whose gradient says which pixels count."""
    decoded = list[Tensor]()

    def decode(vae: AutoencoderKLWan, latents_BCTHW: Tensor) -> Tensor:
        decoded.append(torch.zeros(len(latents_BCTHW), 3, 1, 32, 32, requires_grad=True))
        return decoded[-1]

    monkeypatch.setattr(lengthen, "decode_unclamped", decode)
    vae = AutoencoderKLWan.from_pretrained(SHAPES / "teacher", subfolder="vae").float()
    training = Lengthening(steps=1, clips=1, batch=1)
    lengthen.train_decoder(vae, replace(setting, frames=1), training, tmp_path / "state.pt", {})
    assert decoded[0].grad is not None
    counts_HW = decoded[0].grad.abs().sum((0, 1, 2)) > 0
    assert counts_HW[4:-4, 4:-4].all()
    assert counts_HW[:4].all() == counts_HW[:, -4:].all() == border
    assert counts_HW[:4].any() == counts_HW[:, -4:].any() == border


def test_a_lengthening_that_was_stopped_goes_on_from_what_it_kept_and_ends_at_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lengthen, "KEPT", 2)
    decode, calls, last = lengthen.decode_unclamped, list[int](), 99

    def decode_until(vae: AutoencoderKLWan, latents_BCTHW: Tensor) -> Tensor:
        calls.append(len(calls))
        if len(calls) == last:
            raise KeyboardInterrupt
        return decode(vae, latents_BCTHW)

    monkeypatch.setattr(lengthen, "decode_unclamped", decode_until)
    setting, training = replace(SMALL, frames=1), Lengthening(steps=5, clips=2, batch=1)
    lengthen.lengthen(SHAPES / "teacher", tmp_path / "whole", setting, training)
    last = len(calls) + 4
    with pytest.raises(KeyboardInterrupt):
        lengthen.lengthen(SHAPES / "teacher", tmp_path / "stopped", setting, training)
    assert not (tmp_path / "stopped").exists()
    with pytest.raises(CheckpointError, match=r"stopped\.state\.pt was trained with .* ask for the same settings"):
        lengthen.lengthen(SHAPES / "teacher", tmp_path / "stopped", setting, replace(training, steps=6))
    lengthen.lengthen(SHAPES / "teacher", tmp_path / "stopped", setting, training)
    assert "[decoder] going on from step 2 of 5" in capsys.readouterr().out
    assert len(calls) == last + 3
    whole, stopped = (load_file(tmp_path / name / lengthen.WEIGHTS) for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "stopped"}


def test_a_kept_lengthening_that_cannot_be_read_is_told_with_its_file(tmp_path: Path) -> None:
    kept = tmp_path / "long.state.pt"
    kept.write_bytes(b"PK, and no more")
    with pytest.raises(
        CheckpointError, match=r"long\.state\.pt cannot be read as the state of a training; remove it to begin anew"
    ):
        lengthen.lengthen(
            SHAPES / "teacher", tmp_path / "long", replace(SMALL, frames=1), Lengthening(steps=1, clips=1)
        )


def test_the_medium_teacher_is_small_and_takes_the_small_worlds_latents() -> None:
    assert sum(file.stat().st_size for file in MEDIUM_TEACHER.rglob("*")) < 5_000_000
    weights = "vae/diffusion_pytorch_model.safetensors"
    small, medium = load_file(SHAPES / "teacher" / weights), load_file(MEDIUM_TEACHER / weights)
    encodes = [name for name in small if name.startswith(("encoder.", "quant_conv."))]
    assert encodes
    assert all(torch.equal(small[name], medium[name]) for name in encodes)


@pytest.mark.slow
def test_the_medium_teacher_shows_captions(tmp_path: Path) -> None:
    prompts, samples = tmp_path / "captions.txt", tmp_path / "samples"
    prompts.write_text("a red square moves right\na blue circle moves down\na green triangle moves left\n")
    command("-m", "distill_core", "sample", MEDIUM_TEACHER, "--prompts", prompts, "--seed", 11, "--output", samples)
    shown = measure(read_clips(samples, MEDIUM), MEDIUM)
    assert accuracy(shown).all == 1.0
    assert accuracy(shown).iou > 0.8


PYTHON = """#!/usr/bin/env bash
echo "$@"
case "$*" in *draw.py*)
    mkdir -p "$3"
    echo '{"file_name": "00000.mp4", "caption": "'$3'"}' >"$3/captions.jsonl" ;;
esac
"""
"""Says what it would run, and draws one clip."""


@pytest.mark.parametrize("script", ["make-medium.sh", "make-medium-causal.sh"])
def test_the_medium_worlds_scripts_draw_in_parts_encode_them_as_one_and_train_by_files_that_there_are(
    tmp_path: Path, script: str
) -> None:
    here = tmp_path / "examples" / "shapes"
    here.mkdir(parents=True)
    for name in (script, "recipe.sh", "medium-data.sh"):
        shutil.copy(SHAPES / name, here)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(python), "PARTS": "3", "CLIPS": "5"}
    ran = subprocess.run(["bash", here / script], env=environment, capture_output=True, text=True, check=True)
    drawn = [json.loads(line) for line in (here / "work/medium-clips/captions.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in drawn] == ["1/00000.mp4", "2/00000.mp4", "3/00000.mp4"]
    said = ran.stdout.splitlines()
    assert {line.rpartition(" ")[2] for line in said if " data encode " in line} == {"1/3", "2/3", "3/3"}
    named = set(re.findall(r"examples/shapes/([\w-]+\.(?:py|yaml))", ran.stdout))
    assert named
    assert all((SHAPES / name).is_file() for name in named)
    again = subprocess.run(["bash", here / script], env=environment, capture_output=True, text=True, check=True)
    assert "have examples/shapes/work/medium-clips/captions.jsonl" in again.stdout


@pytest.mark.parametrize("script", ["make-medium.sh", "make-medium-causal.sh"])
def test_a_training_of_the_medium_world_that_was_stopped_goes_on(script: str) -> None:
    trained = [line for line in (SHAPES / script).read_text().splitlines() if " train " in line]
    assert trained
    assert all("/comparison/table.json train " in line.replace(chr(34), "") for line in trained), "a run's last file"
