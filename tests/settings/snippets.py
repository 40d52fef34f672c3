"""Running the snippet of an export's README.md as it stands, but for the GPU and the file that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np


def run_snippet(folder: Path) -> Any:
    """The frames [F, H, W, 3] that the snippet would write. ``Any``: an array."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    snippet = card.split("```python\n")[1].split("```")[0]
    snippet = snippet.replace('folder = "."', f"folder = {str(folder)!r}").replace('.to("cuda")', "")
    written: list[Any] = []
    with patch("diffusers.utils.export_to_video", lambda frames, path, fps: written.append(np.asarray(frames))):
        names: dict[str, Any] = {}
        exec(compile(snippet, "README.md", "exec"), names)
    (frames,) = written
    timesteps = names["pipe"].scheduler.timesteps.tolist()
    assert len(timesteps) == len(set(timesteps))
    return frames
