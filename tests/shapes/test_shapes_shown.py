"""Videos of a picture, and pictures alone: what the judge makes of them, and the recipes at reduced size."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.shapes.test_shapes_recipe import SHAPES, command

from distill_core.errors import DataError
from distill_core.protocols import SampledVideo
from distill_metric_shapes.captions import PICTURES, SMALL, captions, motion_alone, parse
from distill_metric_shapes.config import ShapesOptions
from distill_metric_shapes.metric import ShapesMetric, told_by
from distill_metric_shapes.world import make_clip

METRIC = ShapesMetric(ShapesOptions())


def shown(count: int, *, seed: int = 3) -> list[SampledVideo]:
    """Real clips, of their own first frames and the words of their motions."""
    clips = [make_clip(SMALL, seed, index) for index in range(count)]
    return [
        SampledVideo(
            " ".join(clip.caption.split()[3:]),
            0,
            torch.from_numpy(clip.frames_FHW3),
            1,
            first_frame=torch.from_numpy(clip.frames_FHW3[0]),
        )
        for clip in clips
    ]


def test_a_picture_and_a_motion_say_together_what_a_caption_says() -> None:
    for index, video in enumerate(shown(48)):
        assert told_by(video, SMALL) == make_clip(SMALL, 3, index).caption
    assert motion_alone("moves left", SMALL) == "left"
    assert motion_alone("a red square moves left", SMALL) is None


def test_real_clips_keep_their_picture_and_are_right() -> None:
    figures = METRIC.measure(shown(48))
    assert figures["all_correct"] == figures["picture_kept"] == figures["held_out_correct"] == 1.0
    assert figures["coverage"] > 0.9


def test_another_picture_is_not_kept_and_its_thing_is_what_should_move() -> None:
    clips = shown(48)
    swapped = [
        replace(clip, first_frame=other.first_frame)
        for clip, other in zip(clips, [*clips[5:], *clips[:5]], strict=True)
    ]
    figures = METRIC.measure(swapped)
    assert figures["picture_kept"] < 0.1
    assert figures["all_correct"] < 0.3
    assert figures["motion"] == 1.0


@pytest.mark.parametrize("moved", [(0, 3), (2, 0)])
def test_a_thing_that_begins_elsewhere_is_not_the_picture(moved: tuple[int, int]) -> None:
    (clip,) = shown(1)
    assert METRIC.measure([clip])["picture_kept"] == 1.0
    away = torch.roll(clip.frames, moved, dims=(1, 2))
    assert METRIC.measure([replace(clip, frames=away)])["picture_kept"] == 0.0


def test_a_motion_without_a_picture_and_a_picture_of_nothing_are_refused() -> None:
    (clip,) = shown(1)
    METRIC.check([clip.prompt], (9, 32, 32))
    with pytest.raises(DataError, match="says a motion alone, and no picture says what of"):
        METRIC.measure([replace(clip, first_frame=None)])
    with pytest.raises(DataError, match="shows no thing of the small shapes world"):
        METRIC.measure([replace(clip, first_frame=torch.zeros(32, 32, 3, dtype=torch.uint8))])
    with pytest.raises(DataError, match="has 32×32 pixels"):
        METRIC.measure([replace(clip, first_frame=torch.zeros(16, 32, 3, dtype=torch.uint8))])


def test_pictures_say_colour_shape_and_the_quarter_where_a_thing_is() -> None:
    metric = ShapesMetric(ShapesOptions(setting="pictures"))
    clips = [make_clip(PICTURES, 1, index) for index in range(96)]
    videos = [SampledVideo(clip.caption, 0, torch.from_numpy(clip.frames_FHW3), 1) for clip in clips]
    figures = metric.measure(videos)
    assert figures["all_correct"] == figures["place"] == figures["held_out_correct"] == 1.0
    assert "motion" not in figures
    assert "energy_distance" not in figures
    assert len(captions(PICTURES)) == len(set(captions(PICTURES))) == 48
    mirrored = [replace(video, frames=video.frames.flip(2)) for video in videos]
    assert metric.measure(mirrored)["place"] == 0.0
    assert parse("a red square up left", PICTURES)[0].motion == "up left"
    with pytest.raises(DataError, match="is no caption of the pictures shapes world"):
        metric.check(["a red square moves left"], (1, 32, 32))


@pytest.mark.parametrize("script", ["make.sh", "make-i2v.sh", "make-pictures.sh"])
def test_a_recipes_script_goes_through_all_of_its_stages_by_files_that_there_are(tmp_path: Path, script: str) -> None:
    """With echo for python: what each stage would run."""
    here = tmp_path / "examples" / "shapes"
    here.mkdir(parents=True)
    for name in (script, "recipe.sh"):
        shutil.copy(SHAPES / name, here)
    environment = {"PATH": os.environ["PATH"], "PYTHON": "echo", "OVERRIDES": "training.seed=7 training.device=cpu"}
    ran = subprocess.run(["bash", here / script], env=environment, capture_output=True, text=True, check=True)
    stages = [line for line in (SHAPES / script).read_text().splitlines() if line.startswith("stage ")]
    assert len([line for line in ran.stdout.splitlines() if line.startswith("make ")]) == len(stages)
    named = set(re.findall(r"examples/shapes/([\w-]+\.(?:py|yaml))", ran.stdout))
    assert named
    assert all((SHAPES / name).is_file() for name in named)
    trained = [line for line in ran.stdout.splitlines() if line.startswith("-m distill_core run")]
    assert trained
    assert all(line.endswith(".yaml training.seed=7 training.device=cpu") for line in trained)


def test_every_recipes_script_is_one_of_bash() -> None:
    for script in SHAPES.glob("*.sh"):
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


DISTILL = ("-m", "distill_core")
FEW = (
    "training.max_train_steps=2",
    "training.lr_warmup_steps=0",
    "training.train_batch_size=2",
    "validation.interval=2",
    "training.device=cpu",
)


@pytest.mark.nightly
def test_the_image_to_video_recipe_at_reduced_size(tmp_path: Path) -> None:
    pipeline, pictures, train = tmp_path / "pipeline", tmp_path / "pictures", tmp_path / "train"
    command(SHAPES / "make_i2v.py", "--teacher", SHAPES / "teacher", "--output", pipeline)
    draw = (SHAPES / "draw.py", "--say", "motion", "--output", tmp_path / "clips", "--clips", 4, "--pictures", pictures)
    command(*draw)
    command(*DISTILL, "data", "encode", tmp_path / "clips", "--model", pipeline, "--output", train)
    files = ",".join(str(pictures / f"0000{number}.png") for number in range(4))
    own = (*FEW, f"data.path={train}", f"validation.first_frames=[{files}]")
    command(
        *DISTILL, "run", SHAPES / "i2v.yaml", *own, f"roles.student.path={pipeline}", f"output_dir={tmp_path / 'run'}"
    )
    teacher = tmp_path / "teacher"
    command(*DISTILL, "export", tmp_path / "run", "--role", "student", "--output", teacher)
    roles = [f"roles.{role}.path={teacher}" for role in ("student", "teacher", "critic")]
    command(*DISTILL, "run", SHAPES / "i2v-dmd2.yaml", *own, *roles, f"output_dir={tmp_path / 'dmd2'}")
    samples = tmp_path / "samples"
    command(*DISTILL, "sample", tmp_path / "dmd2", "--prompts", pictures / "prompts.jsonl", "--output", samples)
    assert "first_frame" in (samples / "captions.jsonl").read_text()
    command(SHAPES / "judge.py", samples)


@pytest.mark.nightly
def test_the_recipe_of_pictures_at_reduced_size(tmp_path: Path) -> None:
    train, run = tmp_path / "train", tmp_path / "run"
    command(SHAPES / "draw.py", "--setting", "pictures", "--output", tmp_path / "drawn", "--clips", 4)
    command(*DISTILL, "data", "encode", tmp_path / "drawn", "--model", SHAPES / "teacher", "--output", train)
    command(*DISTILL, "run", SHAPES / "pictures.yaml", *FEW, f"data.path={train}", f"output_dir={run}")
    command(*DISTILL, "export", run, "--role", "student", "--output", tmp_path / "teacher")
    roles = [f"roles.{role}.path={tmp_path / 'teacher'}" for role in ("student", "teacher", "critic")]
    command(
        *DISTILL,
        "run",
        SHAPES / "pictures-dmd2.yaml",
        *FEW,
        *roles,
        f"data.path={train}",
        f"output_dir={tmp_path / 'dmd2'}",
    )
    command(*DISTILL, "export", tmp_path / "dmd2", "--role", "student", "--output", tmp_path / "student")
    words = tmp_path / "words.txt"
    words.write_text("a red square up left\na blue circle down right\n")
    samples = tmp_path / "samples"
    command(*DISTILL, "sample", tmp_path / "student", "--prompts", words, "--output", samples)
    assert len(list(samples.glob("*.png"))) == 2
    command(SHAPES / "judge.py", samples, "--setting", "pictures")
    shutil.rmtree(samples)
