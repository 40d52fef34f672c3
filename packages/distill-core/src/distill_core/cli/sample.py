"""``distill sample SOURCE``: videos from a run, an export, or any pipeline folder of an installed family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from distill_core.errors import ConfigError, Problem


def sample(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A run directory, a pipeline folder, or a hub id.")],
    output: Annotated[Path, typer.Option("--output", help="The folder for the mp4 files.")],
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="What to show. Repeatable.")] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", exists=True, dir_okay=False, help="A text file, one prompt per line.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="One video per prompt and seed. Repeatable; default 0.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Steps of the family's own schedule, instead of the recorded ones."),
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", min=0, help="s of uncond + s·(cond - uncond).")
    ] = None,
    sampler: Annotated[
        Literal["ode", "sde"] | None, typer.Option("--sampler", help="How to move from step to step.")
    ] = None,
    num_frames: Annotated[int | None, typer.Option("--num-frames", min=1)] = None,
    height: Annotated[int | None, typer.Option("--height", min=1)] = None,
    width: Annotated[int | None, typer.Option("--width", min=1)] = None,
    fps: Annotated[float, typer.Option("--fps", min=0.1)] = 16.0,
    role: Annotated[str | None, typer.Option("--role", help="Of a run directory: which role.")] = None,
    step: Annotated[int | None, typer.Option("--step", help="Of a run directory: which checkpoint.")] = None,
) -> None:
    """Sample videos; a few-step export in its own steps, anything else in 40 with guidance 5 unless told otherwise."""
    from distill_core.sample import SampleOrder, sample_videos

    wanted = [*(prompt or []), *(_lines(prompts) if prompts else [])]
    if not wanted:
        raise ConfigError([Problem("", "nothing to show; give --prompt or --prompts")], "distill sample")
    order = SampleOrder(
        source=source,
        output=output,
        prompts=tuple(wanted),
        seeds=tuple(seed or [0]),
        steps=steps,
        guidance_scale=guidance,
        sampler=sampler,
        num_frames=num_frames,
        height=height,
        width=width,
        fps=fps,
        role=role,
        step=step,
    )
    for path in sample_videos(order):
        typer.echo(str(path))


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
