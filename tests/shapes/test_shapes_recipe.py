"""The whole recipe of `make.sh` at reduced size: every stage's own command, from an empty folder to a distilled and exported student."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ROOT / "examples" / "shapes"


def command(*arguments: object) -> None:
    """Run a command of the recipe from the repository's root; its output is shown where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.nightly
def test_the_whole_recipe_at_reduced_size(tmp_path: Path) -> None:
    distill = ("-m", "distill_core")
    pipeline, clips, train = tmp_path / "pipeline", tmp_path / "clips", tmp_path / "train"
    command(SHAPES / "make_pipeline.py", "--output", pipeline, "--vae-steps", 40)
    command(SHAPES / "draw.py", "--output", clips, "--clips", 96)
    command(*distill, "data", "encode", clips, "--model", pipeline, "--output", train)
    teacher_run = (f"roles.student.path={pipeline}", f"data.path={train}", f"output_dir={tmp_path / 'teacher-run'}")
    command(
        *distill, "run", SHAPES / "finetune.yaml", *teacher_run, "training.max_train_steps=60", "validation.interval=60"
    )
    teacher, prompts = tmp_path / "teacher", tmp_path / "prompts"
    command(
        *distill, "export", tmp_path / "teacher-run", "--role", "student", "--output", teacher, "--dtype", "float16"
    )
    texts = tmp_path / "captions.txt"
    texts.write_text("a red square moves left\na blue circle moves up\n")
    command(*distill, "data", "encode", texts, "--captions-only", "--model", teacher, "--output", prompts)
    roles = [f"roles.{role}.path={teacher}" for role in ("student", "teacher", "critic")]
    run = tmp_path / "student-run"
    command(
        *distill, "run", SHAPES / "dmd2.yaml", *roles, f"data.path={prompts}", f"output_dir={run}",
        "training.max_train_steps=16",
    )  # fmt: skip
    assert (run / "comparison" / "index.html").is_file()
    command(*distill, "export", run, "--role", "student", "--output", tmp_path / "student")
    student = WanPipeline.from_pretrained(tmp_path / "student", dtype=torch.float32)
    student.set_progress_bar_config(disable=True)
    video = student(
        "a red square moves left", height=32, width=32, num_frames=9, num_inference_steps=1, guidance_scale=1.0
    )
    assert video.frames.shape == (1, 9, 32, 32, 3)
