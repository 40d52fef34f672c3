"""The recipe of the medium world's teacher at reduced size: its own commands, on a few clips."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from clips import read_clips
from lengthen import main as lengthen
from safetensors.torch import load_file
from tests.recipes import run_recipe
from tests.shapes.test_shapes_recipe import SHAPES, command

from distill_metric_shapes.captions import MEDIUM
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
        lengthen()
    assert "--frames is 4n + 1, as the VAE has it: 13, not 16" in capsys.readouterr().err
    assert not (tmp_path / "long").exists()


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
