"""A program: sample each export by its README's snippet, with the diffusers that is installed, and check the timesteps that it took."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import diffusers
from tests.settings.snippets import run_snippet

from distill_diffusers.few_step_grid import TOLERANCE, few_step_scheduler

for folder in map(Path, sys.argv[1:]):
    recorded = json.loads((folder / "distill.json").read_text())["sampling"]["timesteps"]
    assert len(run_snippet(folder)) == 5
    made = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    made.set_timesteps(len(recorded))
    solved = few_step_scheduler(tuple(recorded), "steps", stochastic=True)
    solved.set_timesteps(len(recorded))
    for scheduler in (made, solved):
        away = max(abs(one - other) for one, other in zip(scheduler.timesteps.tolist(), recorded, strict=True))
        assert away <= TOLERANCE, (diffusers.__version__, folder, away)
    print(f"diffusers {diffusers.__version__} sampled {folder.name}")
