"""The shipped recipes of the shapes world at reduced size: a few clips of numbers, a few steps, everything else as the YAML says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from distill_core.config.resolve import open_run
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.data.reading.dataset import open_dataset
from distill_core.plugins.discovery import discover
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train

ROOT = Path(__file__).resolve().parents[1]
SHAPES = ROOT / "examples" / "shapes"
SMALL = (
    "training.train_batch_size=2",
    "training.lr_warmup_steps=0",
    "validation.interval=null",
    "validation.at_start=false",
    "tracking.log_interval=1",
)
"""What makes a recipe small."""


def run_recipe(name: str, output: Path, *overrides: str, steps: int = 2, compare: bool = True) -> RunDirectory:
    """Train a recipe for so many steps in this process, and compare as it says, if it is to.

    Its paths are from the repository's root, which must be the working directory.
    """
    compared = ("comparison.max_prompts=2", "comparison.clips_per_prompt=1") if compare else ("comparison=null",)
    changes = (*SMALL, *compared, f"training.max_train_steps={steps}", f"output_dir={output}", *overrides)
    resolved = open_run(SHAPES / f"{name}.yaml", changes, discover())
    directory = RunDirectory(output)
    directory.claim(resolved.to_mapping())
    train(prepare(resolved), directory, [], Console(quiet=True))
    return directory


def figures(directory: RunDirectory) -> list[dict[str, Any]]:
    """What metrics.jsonl says."""
    return [json.loads(line) for line in directory.metrics.read_text(encoding="utf-8").splitlines()]


def write_clips(folder: Path, clips: int = 6, frames: int = 9, size: int = 32) -> Path:
    """Rows that stand for encoded clips of the shapes world: its own captions, and noise for latents."""
    prompts = open_dataset(SHAPES / "prompts", latents=False)
    generator = torch.Generator().manual_seed(0)
    with ParquetWriter(folder, T2V_SCHEMA) as writer:
        for place in range(clips):
            row = prompts[place]
            latent_CTHW = torch.randn(8, 1 + (frames - 1) // 4, size // 4, size // 4, generator=generator)
            record = ClipRecord(row.id, row.caption, row.text_LD, latent_CTHW, f"{place}.mp4", size, size, frames, 8.0)
            writer.add(record)
    return folder
