"""Image to video from the command line: videos to data, data to a student, a picture to a video, a student to a pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from diffusers import WanImageToVideoPipeline
from PIL import Image
from tests.commands.conftest import Command

from distill_core.video.reading import read_video
from distill_core.video.samples import write_sample
from distill_core.video.writing import write_mp4
from distill_model_wan.testing import Variant, make_tiny_pipeline

pytestmark = pytest.mark.xdist_group("pictures")  # what they share is made once

STEP = 2


@pytest.fixture(scope="module", params=["flf2v", "ti2v-i2v"])
def variant(request: pytest.FixtureRequest) -> Variant:
    """One member that is shown a first and a last frame beside the noise, one that is shown a first in its place."""
    chosen: Variant = request.param
    return chosen


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, variant: Variant) -> Path:
    """Its pipeline."""
    return make_tiny_pipeline(tmp_path_factory.mktemp("models") / variant, variant)


@pytest.fixture
def pictures(tmp_path: Path, variant: Variant) -> list[str]:
    """What a sample is shown, by options of ``distill sample``; of another size than the sample."""
    arguments: list[str] = []
    for option, shade in (("--image", 200), ("--last", 60))[: 2 if variant == "flf2v" else 1]:
        file = tmp_path / f"{option.strip('-')}.png"
        Image.new("RGB", (80, 40), (shade, 100, 30)).save(file)
        arguments += [option, str(file)]
    return arguments


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Two clips with a motion, encoded for the model by the command itself."""
    from distill_core.cli import main

    clips, folder = tmp_path_factory.mktemp("clips"), tmp_path_factory.mktemp("data") / "clips"
    for index, name in enumerate(("red", "green")):
        frames = torch.zeros(9, 64, 64, 3, dtype=torch.uint8)
        for time in range(9):
            frames[time, 4 * time : 4 * time + 16, 8:24, index] = 255
        write_mp4(clips / f"{name}.mp4", frames, 8.0)
    (clips / "captions.jsonl").write_text(
        "\n".join(json.dumps({"file_name": f"{name}.mp4", "caption": f"a {name} square"}) for name in ("red", "green"))
    )
    with pytest.raises(SystemExit) as stop:
        main(["data", "encode", str(clips), "--model", str(model), "--output", str(folder)])
    assert not stop.value.code
    return folder


@pytest.fixture
def run(tmp_path: Path, model: Path, data: Path, pictures: Sequence[str]) -> Callable[..., Path]:
    """Write a run.yaml that validates with the pictures."""
    import yaml

    shown = {"first_frames": [pictures[1]], **({"last_frames": [pictures[3]]} if len(pictures) > 2 else {})}

    def write(method: str, **sections: Any) -> Path:
        names = ("student", "teacher", "critic") if method == "dmd2" else ("student",)
        content = {
            "recipe": {"family": "wan", "method": method},
            "roles": {name: {"path": str(model), "trainable": name != "teacher"} for name in names},
            "data": {"path": str(data)},
            "training": {"max_train_steps": STEP, "train_batch_size": 2, "device": "cpu", "precision": "fp32"},
            "method_config": {"dmd_denoising_steps": [1000, 500], "generator_update_interval": 1}
            if method == "dmd2"
            else {},
            "validation": {"interval": STEP, "prompts": ["a cat"], "sampling_steps": 2, **shown},
            "tracking": {"log_interval": 1},
            "output_dir": str(tmp_path / f"run-{method}"),
            **sections,
        }
        path = tmp_path / f"{method}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def frames_of(path: Path) -> torch.Tensor:
    return read_video(path).frames


def test_a_few_step_student_of_pictures_exports_to_the_pipeline_of_pictures(
    distill: Command, run: Callable[..., Path], pictures: list[str], tmp_path: Path
) -> None:
    done = distill("run", run("dmd2"))
    assert done.code == 0, done.err
    samples = sorted((tmp_path / "run-dmd2" / "samples").rglob("*.mp4"))
    assert len(samples) == 1
    exported = distill("export", tmp_path / "run-dmd2", "--output", tmp_path / "student")
    assert exported.code == 0, exported.err
    sampled = distill(
        "sample", tmp_path / "student", "--output", tmp_path / "out", "--prompt", "a cat", *pictures, "--seed", "5"
    )
    assert sampled.code == 0, sampled.err
    assert "is stretched to 64×64" in sampled.err
    pipeline = WanImageToVideoPipeline.from_pretrained(tmp_path / "student")
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(5)
    expected = pipeline(
        image=Image.open(pictures[1]), last_image=Image.open(pictures[3]) if len(pictures) > 2 else None,
        prompt="a cat", height=64, width=64, num_frames=9, num_inference_steps=2, guidance_scale=1.0, output_type="np",
    ).frames[0]  # fmt: skip
    (file,) = (tmp_path / "out").glob("*.mp4")
    with av.open(str(file)) as container:
        assert container.streams.video[0].frames == 9
    levels = (torch.from_numpy(expected) * 255).round().to(torch.uint8)
    theirs = write_sample(
        tmp_path / "theirs", levels, 16.0
    )  # through the same codec; levels are compared in test_wan_pictures
    assert (frames_of(file).float() - frames_of(theirs).float()).abs().mean() < 0.5


@pytest.mark.slow
def test_finetuning_of_pictures_goes_on_bitwise(distill: Command, run: Callable[..., Path]) -> None:
    told = distill("verify-resume", run("finetune"), "--steps", "1")
    assert told.code == 0, told.err
    assert "are equal to the bit" in told.out


def test_pictures_that_are_missing_too_many_or_unreadable_are_refused_before_anything_is_loaded(
    distill: Command, run: Callable[..., Path], model: Path, pictures: list[str], tmp_path: Path
) -> None:
    size = ("--num-frames", "9", "--height", "64", "--width", "64")
    none = distill("sample", model, "--output", tmp_path / "a", "--prompt", "a cat", *size)
    assert none.code == 2
    assert "distill sample: --image, --last-image: this model makes videos of a first frame" in none.err
    two = distill("sample", model, "--output", tmp_path / "b", "--prompt", "a cat", *pictures, *pictures, *size)
    assert "there are 1 prompts and 2 files for a first frame" in two.err
    assert two.code == 2
    last = {"last_frames": ["nowhere.png"]} if len(pictures) > 2 else {}
    gone = run("finetune", validation={"interval": 1, "prompts": ["a cat"], "first_frames": ["nowhere.png"], **last})
    checked = distill("config", "check", gone)
    assert checked.code != 0
    assert "nowhere.png" in checked.err
    bare = distill("config", "check", run("finetune", validation={"interval": 1, "prompts": ["a cat"]}))
    assert bare.code == 2
    assert "validation.first_frames" in bare.err
    assert not (tmp_path / "run-finetune").exists()
