"""Twelve methods of an outsider's package: installed by pip, found, held against the contract, trained on the shapes teacher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from distill_core.checkpoint import Checkpoint
from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord, with_columns
from distill_core.data.reading.tensors import tensor_columns
from distill_core.errors import DataError
from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.specs import MethodSpec
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing.contracts import check_method

pytestmark = pytest.mark.xdist_group("zoo")  # what they share is made once

PACKAGE = Path(__file__).parent / "package"
TEACHER = Path(__file__).parents[2] / "examples" / "shapes" / "teacher"
NAMES = (
    "adversarial", "consistency", "scm", "meanflow", "score-identity", "diffusion-forcing", "teacher-forcing",
    "self-forcing", "reward", "nft", "preference", "paths",
)  # fmt: skip
SHAPE_CTHW = (8, 3, 8, 8)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginIndex]:
    """The plugins, with the package installed by pip into a folder of its own."""
    site = tmp_path_factory.mktemp("site")
    install = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(site)]
    subprocess.run([*install, str(PACKAGE)], check=True, timeout=300)
    sys.path.insert(0, str(site))
    yield discover()
    sys.path.remove(str(site))
    for name in [name for name in sys.modules if name.partition(".")[0] == "distill_zoo"]:
        del sys.modules[name]


def spec_of(index: PluginIndex, name: str) -> MethodSpec:
    return index.method(f"zoo-{name}")


@pytest.mark.parametrize("name", NAMES)
def test_each_keeps_the_contract(index: PluginIndex, name: str) -> None:
    spec = spec_of(index, name)
    check_method(spec, spec.options(), steps=4)


def write_data(folder: Path) -> Path:
    """Six clips in the shapes' latent space, each with a worse one and a path; what they show has no meaning here."""
    text_LD = torch.randn(5, json.loads((TEACHER / "text_encoder" / "config.json").read_text())["d_model"])
    zoo = sys.modules["distill_zoo.plugin"]
    generator = torch.Generator().manual_seed(0)
    C, T, H, W = SHAPE_CTHW
    with ParquetWriter(folder, with_columns(T2V_SCHEMA, (zoo.WORSE, zoo.PATH))) as writer:
        for number in range(6):
            clip, worse = (torch.randn(SHAPE_CTHW, generator=generator) for _ in range(2))
            path = torch.randn(3, T, C, H, W, generator=generator)
            record = ClipRecord(f"clip{number}", "a red square", text_LD, clip, f"{number}.mp4", 32, 32, 9, 8.0)
            extra = tensor_columns("worse_latent", worse) | tensor_columns("path", path)
            writer.add({**record.columns(), **extra})
    return folder


class Shapes:
    """Runs of one method on the shapes teacher, in one folder."""

    def __init__(self, root: Path, index: PluginIndex, name: str) -> None:
        self.root, self.index, self.spec = root, index, spec_of(index, name)

    def run(self, output: str, steps: int, **data: object) -> RunDirectory:
        """Train so many steps, or go on to them."""
        roles = {
            role: {"path": str(TEACHER), "trainable": need.trainable}
            for role, need in self.spec.roles.items()
            if not need.sourceless
        }
        mapping = {
            "recipe": {"family": "wan", "method": self.spec.name},
            "roles": roles,
            "data": {"path": str(self.root / "data"), "num_frames": 9, "num_height": 32, "num_width": 32, **data},
            "training": {"max_train_steps": steps, "train_batch_size": 2, "learning_rate": 1e-4, "cpu_threads": 1},
            "validation": {"interval": 4, "prompts": ["a red square moves left"], "sampling_steps": 2},
            "checkpoint": {"interval": 2},
            "output_dir": str(self.root / output),
        }
        path = self.root / f"{output}.yaml"
        path.write_text(write_yaml(mapping), encoding="utf-8")
        resolved = open_run(path, (), self.index)
        directory = RunDirectory(Path(resolved.config.output_dir))
        train(prepare(resolved), directory, [], Console(quiet=True))
        return directory


def saved(directory: RunDirectory, step: int) -> dict[str, Tensor]:
    checkpoint = Checkpoint(directory.checkpoints / f"step-{step:08d}", step)
    tensors = {name: torch.empty(shape) for name, shape in checkpoint.state()["tensors"].items()}
    checkpoint.load(tensors)
    return tensors


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_trains_is_stopped_goes_on_bitwise_is_sampled_and_exported(
    index: PluginIndex, tmp_path: Path, name: str
) -> None:
    write_data(tmp_path / "data")
    shapes = Shapes(tmp_path, index, name)
    whole = shapes.run("whole", 4)
    shapes.run("cut", 2)
    cut = shapes.run("cut", 4)
    ours, theirs = saved(whole, 4), saved(cut, 4)
    assert ours.keys() == theirs.keys()
    assert all(tensor.equal(theirs[tensor_name]) for tensor_name, tensor in ours.items())
    assert list((whole.samples / "step-00000004").glob("*.mp4"))
    exported = subprocess.run(
        [sys.executable, "-m", "distill_core", "export", str(whole.root), "--output", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": sys.path[0]},
        capture_output=True,
        text=True,
        check=False,
    )
    request = Checkpoint(whole.checkpoints / "step-00000004", 4).sampling()
    assert request is not None
    if request.until:
        assert exported.returncode == 2, exported
        assert "distill sample" in exported.stderr, (
            "no pipeline of diffusers samples it, and the message says what does"
        )
    else:
        assert exported.returncode == 0, exported
        assert (tmp_path / "out" / "model_index.json").is_file()


def test_data_without_what_a_method_declares_are_refused_with_what_makes_it(index: PluginIndex, tmp_path: Path) -> None:
    with ParquetWriter(tmp_path / "data", T2V_SCHEMA) as writer:
        writer.add(
            ClipRecord("clip", "a red square", torch.randn(5, 64), torch.randn(SHAPE_CTHW), "c.mp4", 32, 32, 9, 8.0)
        )
    with pytest.raises(
        DataError, match=r"lacks what this run needs of each row: path \[S, T, C, H, W\].*run `zoo paths`"
    ):
        Shapes(tmp_path, index, "paths").run("run", 1)
