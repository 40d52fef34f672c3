"""A tiny real Wan pipeline and data encoded with it, made once per test process; and the command line, called in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from distill_core.cli import main
from distill_core.config.document import write_yaml

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def distill(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run ``distill ARGUMENTS``."""

    def run(*arguments: str | Path) -> Result:
        capfd.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Wan pipeline folder."""
    from distill_model_wan.testing import make_tiny_pipeline

    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_pipeline(folder)
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real mp4 files of 9 frames, 32 × 32, with captions."""
    import json

    import torch

    from distill_core.video.writing import write_mp4

    folder = tmp_path_factory.mktemp("clips")
    lines = []
    for index, caption in enumerate(("red", "green", "blue", "grey")):
        frames = torch.full((9, 32, 32, 3), 40 * index, dtype=torch.uint8)
        write_mp4(folder / f"{caption}.mp4", frames, 8.0)
        lines.append(json.dumps({"file_name": f"{caption}.mp4", "caption": caption}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory, tiny: Path, clips: Path) -> Path:
    """The clips, encoded with the tiny pipeline by the command itself."""
    folder = tmp_path_factory.mktemp("data") / "clips"
    with pytest.raises(SystemExit) as stop:
        main(["data", "encode", str(clips), "--model", str(tiny), "--output", str(folder)])
    assert not stop.value.code
    return folder


@pytest.fixture
def run_yaml(tmp_path: Path, tiny: Path, encoded: Path) -> Callable[..., Path]:
    """Write a run.yaml for the tiny pipeline; keyword arguments replace or, as mappings, extend sections."""

    def write(method: str = "dmd2", **sections: Any) -> Path:
        names: Sequence[str] = ("student", "teacher", "critic") if method == "dmd2" else ("student",)
        run: dict[str, Any] = {
            "recipe": {"family": "wan", "method": method},
            "roles": {name: {"path": str(tiny), "trainable": name != "teacher"} for name in names},
            "data": {"path": str(encoded)},
            "training": {"max_train_steps": 2, "train_batch_size": 2, "device": "cpu"},
            "output_dir": str(tmp_path / "run"),
        }
        for name, section in sections.items():
            run[name] = {**run.get(name, {}), **section} if isinstance(section, Mapping) else section
        path = tmp_path / "run.yaml"
        path.write_text(write_yaml(run), encoding="utf-8")
        return path

    return write
