"""A toy model and a few clips, for the tests of `distill data …`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distill_core.plugins.index import PluginIndex
from distill_core.testing.toy_spec import TOY, write_toy_model
from distill_core.video.writing import write_mp4

MakeVideo = Callable[..., Path]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy model's folder; the toy family is the only one installed."""
    for module in ("cli.encoding", "cli.examining", "plugins.discovery"):
        monkeypatch.setattr(f"distill_core.{module}.discover", lambda: PluginIndex.of(models=[TOY]))
    return write_toy_model(tmp_path / "model")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two clips with captions and one without."""
    for name in ("a", "b", "c"):
        write_mp4(tmp_path / "videos" / f"{name}.mp4", torch.full((6, 16, 16, 3), 90, dtype=torch.uint8), fps=8)
    (tmp_path / "videos" / "captions.jsonl").write_text(
        '{"video": "a.mp4", "caption": "A"}\n{"video": "c.mp4", "caption": "C"}\n'
    )
    return tmp_path / "videos"


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Writes an mp4 whose frame k has the grey level 10 · k."""

    def make(frames: int, height: int = 32, width: int = 32, fps: float = 16) -> Path:
        levels = (10 * torch.arange(frames)).to(torch.uint8).view(-1, 1, 1, 1)
        write_mp4(tmp_path / "a.mp4", levels.expand(frames, height, width, 3), fps)
        return tmp_path / "a.mp4"

    return make
