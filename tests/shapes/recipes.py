"""Shipped recipes of the shapes world at reduced size: a few clips of numbers, a few steps, everything else as it stands in the YAML."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from rich.console import Console

from distill_core.config.resolve import open_run
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.plugins.discovery import discover
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
SMALL = (
    "training.train_batch_size=2",
    "training.lr_warmup_steps=0",
    "validation.interval=null",
    "validation.at_start=false",
)


def write_clips(folder: Path) -> Path:
    """Six clips in the shapes' latent space; what they show has no meaning."""
    width = json.loads((SHAPES / "teacher" / "text_encoder" / "config.json").read_text())["d_model"]
    generator = torch.Generator().manual_seed(0)
    with ParquetWriter(folder, T2V_SCHEMA) as writer:
        for number in range(6):
            text_LD = torch.randn(5, width, generator=generator)
            latent_CTHW = torch.randn(8, 3, 8, 8, generator=generator)
            writer.add(
                ClipRecord(f"clip{number}", "a red square moves left", text_LD, latent_CTHW, "c.mp4", 32, 32, 9, 8.0)
            )
    return folder


def run_recipe(name: str, output: Path, *overrides: str, steps: int = 2) -> RunDirectory:
    """Train a recipe for so many steps, and compare as it says, if it is to."""
    compared = () if "comparison=null" in overrides else ("comparison.max_prompts=2", "comparison.clips_per_prompt=1")
    changes = (*SMALL, *compared, f"training.max_train_steps={steps}", f"output_dir={output}", *overrides)
    resolved = open_run(SHAPES / f"{name}.yaml", changes, discover())
    directory = RunDirectory(output)
    directory.claim(resolved.to_mapping())
    train(prepare(resolved), directory, [], Console(quiet=True))
    return directory
