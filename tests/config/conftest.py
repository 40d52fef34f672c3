"""A run.yaml that is right, to be made wrong by one edit at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

RUN = """\
recipe: {family: picture, method: turbo}
roles:
  student: {path: small}
  teacher: {path: small, trainable: false}
data:
  path: clips
training:
  max_train_steps: 10
output_dir: out
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a run.yaml and returns its path."""

    def _write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write
