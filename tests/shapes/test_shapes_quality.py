"""The files that ship are good: plain diffusers samples them, the judge finds their captions, and a minute of DMD2 makes a student."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanPipeline
from rich.console import Console

from distill_core.config.resolve import open_run
from distill_core.plugins.discovery import discover
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_metric_shapes.captions import SMALL, captions
from distill_metric_shapes.measure import accuracy, measure

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ROOT / "examples" / "shapes"


def test_plain_diffusers_samples_the_shipped_teacher_and_it_shows_the_captions() -> None:
    pipeline = WanPipeline.from_pretrained(SHAPES / "teacher", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    prompts = list(captions(SMALL)[::6]) + list(captions(SMALL, "only")[:2])
    generators = [torch.Generator("cpu").manual_seed(index) for index in range(len(prompts))]
    frames = pipeline(
        prompts,
        height=32,
        width=32,
        num_frames=9,
        num_inference_steps=20,
        guidance_scale=2.0,
        generator=generators,
        output_type="np",
    ).frames
    clips = (np.rint(np.asarray(video) * 255.0).astype(np.uint8) for video in frames)
    found = accuracy(measure(zip(clips, prompts, strict=True), SMALL))
    assert found.all >= 0.9
    assert found.iou > 0.88


def test_sixty_four_steps_of_dmd2_make_a_student_that_shows_most_captions_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    rows = {"before": {"role": "teacher", "steps": 1, "guidance_scale": 1.0}, "after": {"role": "student"}}
    comparison = {"rows": rows, "prompts": list(captions(SMALL)), "clips_per_prompt": 6, "page_clips": 1}
    overrides = [
        f"output_dir={tmp_path / 'run'}",
        "training.max_train_steps=64",
        "roles.student.ema=null",  # an average over fifty updates remembers the untrained student
        "validation.interval=null",
        "validation.at_start=false",
        f"comparison={json.dumps(comparison)}",
    ]
    run = open_run(SHAPES / "dmd2.yaml", overrides, discover())
    outcome = train(prepare(run), RunDirectory(tmp_path / "run"), [], Console(quiet=True))
    assert outcome.comparison is not None
    before, after = (line.figures["shapes/all_correct"] for line in outcome.comparison[0].lines)
    assert before < 0.15  # of 288 clips, as benchmarks/quality_shapes.py judges
    assert after > 0.6
