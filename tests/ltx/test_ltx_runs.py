"""LTX-Video from the command line: data, both methods, a resume that is the same bit for bit, samples, an export."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture

from distill_core.cli import main
from distill_core.config.document import write_yaml
from distill_core.video.writing import write_mp4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, pipeline: Path) -> Path:
    """Four clips of 9 frames, 32 × 64, encoded by the command."""
    clips = tmp_path_factory.mktemp("clips")
    lines = []
    for index, caption in enumerate(("a red square", "a green circle moves right", "a cat", "a blue triangle")):
        frames = torch.randint(
            0, 256, (9, 32, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(index)
        )
        write_mp4(clips / f"{index}.mp4", frames, 8.0)
        lines.append(json.dumps({"file_name": f"{index}.mp4", "caption": caption}))
    (clips / "captions.jsonl").write_text("\n".join(lines))
    folder = clips.parent / "ltx-data"
    with pytest.raises(SystemExit) as stop:
        main(["data", "encode", str(clips), "--model", str(pipeline), "--output", str(folder)])
    assert not stop.value.code
    return folder


WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path, pipeline: Path, data: Path) -> WriteRun:
    """``write_run("dmd2", steps=2, method_config={...})``: a run.yaml."""

    def write(method: str, name: str = "run", steps: int = 2, **sections: Mapping[str, Any]) -> Path:
        names = ("student", "teacher", "critic") if method == "dmd2" else ("student",)
        run = {
            "recipe": {"family": "ltx", "method": method},
            "roles": {role: {"path": str(pipeline), "trainable": role != "teacher"} for role in names},
            "data": {"path": str(data)},
            "training": {"max_train_steps": steps, "train_batch_size": 2, "device": "cpu", "learning_rate": 1.0e-3},
            "output_dir": str(tmp_path / name),
            **sections,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(write_yaml(run), encoding="utf-8")
        return path

    return write


def weights(run: Path, step: int) -> dict[str, str]:
    """A hash of each tensor file of a checkpoint."""
    files = sorted((run / "checkpoints" / f"step-{step:08d}" / "dcp").rglob("*.distcp"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


FEW: Mapping[str, Any] = {"dmd_denoising_steps": [1000, 500], "generator_update_interval": 2}


@pytest.mark.parametrize(
    ("method", "settings"),
    [("finetune", {}), ("dmd2", FEW), ("dmd2", {**FEW, "rollout": "data_latent"})],
    ids=["finetune", "dmd2-simulate", "dmd2-data_latent"],
)
def test_a_run_that_stopped_goes_on_bit_for_bit(
    distill: Command,  # noqa: F811
    write_run: WriteRun,
    tmp_path: Path,
    method: str,
    settings: Mapping[str, Any],
) -> None:
    once = write_run(method, "once", steps=4, method_config=settings)
    assert distill("run", once).code == 0
    twice = write_run(method, "twice", steps=4, method_config=settings, checkpoint={"interval": 2})
    assert distill("run", twice, "training.max_train_steps=2").code == 0
    assert distill("run", twice, "checkpoint.resume=changed").code == 0
    found = weights(tmp_path / "once", 4)
    assert found
    assert weights(tmp_path / "twice", 4) == found


def test_a_student_is_sampled_and_exported(
    distill: Command,  # noqa: F811
    write_run: WriteRun,
    tmp_path: Path,
) -> None:
    validation = {"interval": 2, "prompts": ["a cat"]}
    run = write_run("dmd2", method_config=FEW, validation=validation, pipeline_config={"negative_prompt": "dull"})
    assert distill("run", run).code == 0
    assert len(list((tmp_path / "run" / "samples").rglob("*.mp4"))) == 1
    exported = distill("export", tmp_path / "run", "--output", tmp_path / "student")
    assert exported.code == 0, exported.err
    for source in ("run", "student"):
        sampled = distill("sample", tmp_path / source, "--prompt", "a cat", "--output", tmp_path / f"clips-{source}")
        assert sampled.code == 0, sampled.err
    files = [next((tmp_path / f"clips-{source}").glob("*.mp4")).read_bytes() for source in ("run", "student")]
    assert files[0] == files[1]
