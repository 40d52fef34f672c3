"""``distill sample SOURCE``: videos from a run, an export, or any pipeline folder of an installed family."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from distill_core import terminal
from distill_core.cli import sample_options as given
from distill_core.cli.timesteps import listed_timesteps
from distill_core.cli.waiting import waiting
from distill_core.errors import ConfigError, ModelFolderError, Problem
from distill_core.protocols.adapter import PICTURES
from distill_core.running.output_folder import check_output_folder
from distill_core.terminal import answer, notes, remark

if TYPE_CHECKING:
    from distill_core.data.encoding.captions import CaptionEntry
    from distill_core.finished.sample import Sampling


def sample(
    source: given.Source,
    output: given.Output,
    prompt: given.Prompt = None,
    prompts: given.Prompts = None,
    image: given.Image = None,
    last_image: given.LastImage = None,
    seed: given.Seed = None,
    steps: given.Steps = None,
    timesteps: given.Timesteps = None,
    negative_prompt: given.NegativePrompt = None,
    guidance: given.Guidance = None,
    low_noise_guidance: given.LowNoiseGuidance = None,
    sampler: given.Sampler = None,
    blocks: given.Blocks = None,
    window: given.Window = None,
    sink: given.Sink = None,
    num_frames: given.NumFrames = None,
    height: given.Height = None,
    width: given.Width = None,
    fps: given.Fps = 16.0,
    role: given.Role = None,
    step: given.Step = None,
    base: given.Base = None,
) -> None:
    """Write an mp4 file (of one frame, a png) per prompt and seed, and print its path.

    "As recorded" is what a run directory or an export says of how it is sampled, e.g. its few steps.
    """
    shown, grid = _shown(prompt, prompts, image, last_image), _grid(steps, timesteps)
    check_output_folder(output)
    _refuse_no_source(source)
    with waiting("importing torch") as say:
        from distill_core.finished.sample import SampleOrder, load

        order = SampleOrder(
            source=source,
            output=output,
            **shown,
            seeds=tuple(dict.fromkeys(seed or [0])),
            steps=steps,
            timesteps=grid,
            negative_prompt=negative_prompt,
            guidance_scale=guidance,
            low_noise_guidance_scale=low_noise_guidance,
            sampler=sampler,
            blocks=blocks,
            window=window,
            sink=sink,
            num_frames=num_frames,
            height=height,
            width=width,
            fps=fps,
            role=role,
            step=step,
            base=base,
        )
        say(f"loading {source}")
        sampling = load(order)
    _write(sampling)


def _refuse_no_source(source: str) -> None:
    """Raise DistillError for what can be no source, before torch is imported."""
    from distill_core.config.folders import RUN_RECORD, run_at
    from distill_core.plugins.discovery import discover
    from distill_core.plugins.recognition import NO_SOURCE, recognised

    if (Path(source) / RUN_RECORD).is_file():
        return
    try:
        with waiting(f"looking at {source}"):
            recognised(source, discover(), NO_SOURCE)
    except ModelFolderError as error:
        run = run_at(Path(source))
        if run is None:
            raise
        raise ModelFolderError(
            f"{source} is a part of the run {run}: name that, and of its checkpoints one by --step"
        ) from error


def _write(sampling: Sampling) -> None:
    """The videos, the path of each on stdout; what is to be said of them on stderr."""
    notes(sampling.remarks)
    with _bar(len(sampling.order.prompts) * len(sampling.order.seeds)) as advance:
        for path in sampling.write_videos():
            answer(str(path))
            advance()
    if (speed := sampling.speed) is not None:
        remark(
            f"by blocks: the first could be shown after {speed.first_block_seconds:.2f} s, {speed.frames_per_second:.2f} frames per second "
            "(means over the videos)"
        )


class _Shown(TypedDict):
    """What the videos show, as an order has it."""

    prompts: tuple[str, ...]
    first_frames: tuple[str, ...] | None
    last_frames: tuple[str, ...] | None
    listed: Mapping[str, tuple[str, ...]]


def _shown(
    prompt: Sequence[str] | None, file: Path | None, image: list[Path] | None, last_image: list[Path] | None
) -> _Shown:
    """The prompts, and the pictures of each. Raises ConfigError if there is none."""
    from distill_core.data.encoding.captions import CaptionEntry, read_prompts

    entries = [*(CaptionEntry(0, text) for text in prompt or ()), *(read_prompts(file) if file else ())]
    if not entries:
        raise ConfigError([Problem("", "nothing to show; give --prompt TEXT or --prompts FILE")], "distill sample")
    return {
        "prompts": tuple(entry.caption for entry in entries),
        "first_frames": _of_each(image, len(entries)),
        "last_frames": _of_each(last_image, len(entries)),
        "listed": _listed(entries, file),
    }


def _grid(steps: int | None, timesteps: str | None) -> tuple[float, ...] | None:
    """The timesteps that were given. Raises ConfigError where a number of steps was given too."""
    if steps is not None and timesteps is not None:
        raise ConfigError([Problem("--steps", "the timesteps say how many; leave out --steps")], "distill sample")
    return None if timesteps is None else listed_timesteps(timesteps, "distill sample")


def _of_each(files: list[Path] | None, prompts: int) -> tuple[str, ...] | None:
    """A picture of each prompt: one that is given once is that of all."""
    if not files:
        return None
    return tuple(map(str, files * prompts if len(files) == 1 else files))


def _listed(entries: Sequence[CaptionEntry], file: Path | None) -> Mapping[str, tuple[str, ...]]:
    """The pictures that every entry of a file of prompts names."""
    if file is None:
        return {}
    return {
        name: tuple(str(file.parent / entry.pictures[name]) for entry in entries)
        for name in PICTURES
        if all(name in entry.pictures for entry in entries)
    }


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr where that is a terminal, advanced by calling what this yields; stdout is left alone."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = terminal.console()
    columns = (SpinnerColumn(), TextColumn("sampling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    disabled = not console.is_terminal
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty(), disable=disabled) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
