"""The modules of examples/shapes are scripts beside each other, not a package: put them on the path, as running one does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
sys.path.insert(0, str(SHAPES))


@pytest.fixture(scope="session")
def real_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips of every caption of the small world, held-out compositions among them."""
    from clips import write_folder

    from distill_metric_shapes.captions import SMALL
    from distill_metric_shapes.world import make_clip

    folder = tmp_path_factory.mktemp("shapes") / "real"
    clips = (make_clip(SMALL, 5, index) for index in range(96))
    write_folder(folder, ((clip.frames_FHW3, clip.caption) for clip in clips), SMALL.fps)
    return folder
