"""``distill sample SOURCE``: videos from a run, an export, or any pipeline folder of an installed family."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from distill_core import terminal
from distill_core.cli.timesteps import listed_timesteps
from distill_core.errors import ConfigError, Problem
from distill_core.protocols.adapter import PICTURES
from distill_core.terminal import answer, remark

if TYPE_CHECKING:
    from distill_core.data.encoding.captions import CaptionEntry


def _finite(value: float | None) -> float | None:
    """Refuse NaN and infinity, which pass any comparison with a bound."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number to sample with")
    return value


def _text(value: str | None) -> str | None:
    """Refuse bytes of another encoding, which Python takes from a command line and no file takes from Python."""
    try:
        if value is not None:
            value.encode()
    except UnicodeEncodeError as error:
        raise typer.BadParameter(f"{value!r} is no UTF-8 text") from error
    return value


def _texts(values: list[str] | None) -> list[str] | None:
    """The same of each."""
    for value in values or ():
        _text(value)
    return values


def sample(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A run directory, a pipeline folder, or a hub id.")],
    output: Annotated[
        Path,
        typer.Option("--output", metavar="DIR", help="The folder for the files, mp4 or png; made if it is not there."),
    ],
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", metavar="TEXT", callback=_texts, help="What to show. Repeatable.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A text file of one prompt a line, or captions as .jsonl or .csv, with columns image and last_image of pictures.",
        ),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            "--image",
            metavar="FILE",
            help="Of a model that makes videos of a picture: what they begin with. Once for all prompts, or once for each.",
        ),
    ] = None,
    last_image: Annotated[
        list[Path] | None,
        typer.Option("--last-image", metavar="FILE", help="The same, what they end with."),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=2**32 - 1, help="One video per prompt and seed. Repeatable; default 0."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Steps of the family's own schedule; the number that is recorded keeps the recorded timesteps. "
            "Default: as recorded, else 40.",
        ),
    ] = None,
    timesteps: Annotated[
        str | None,
        typer.Option(
            "--timesteps", metavar="T,T,…", help="Sample at these, e.g. 1000,750,500,250. Default: as recorded."
        ),
    ] = None,
    negative_prompt: Annotated[
        str | None,
        typer.Option(
            "--negative-prompt",
            metavar="TEXT",
            callback=_text,
            help="What guidance leads away from. Default: as recorded, else the empty caption.",
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance",
            metavar="S",
            min=0,
            callback=_finite,
            help="uncond + S·(cond - uncond); 1 is none. Default: as recorded, else 5.",
        ),
    ] = None,
    low_noise_guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance-2",
            metavar="S",
            min=0,
            callback=_finite,
            help="The same of the expert for low noise, where a model has two. Default: as recorded, else --guidance.",
        ),
    ] = None,
    sampler: Annotated[
        Literal["ode", "sde"] | None,
        typer.Option("--sampler", help="sde adds fresh noise at each step. Default: as recorded, else the family's."),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(
            "--blocks",
            metavar="N",
            min=1,
            help="Latent frames made at once, each block on a stream of those before it; as many as there are: the clip at once. "
            "Default: as recorded.",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option("--window", metavar="W", min=1, help="With blocks: latent frames before a block that it sees."),
    ] = None,
    sink: Annotated[
        int | None,
        typer.Option("--sink", metavar="S", min=0, help="And of the very beginning, besides."),
    ] = None,
    num_frames: Annotated[
        int | None, typer.Option("--num-frames", metavar="N", min=1, help="Frames of each video. Default: as recorded.")
    ] = None,
    height: Annotated[
        int | None, typer.Option("--height", metavar="N", min=1, help="In pixels. Default: as recorded.")
    ] = None,
    width: Annotated[
        int | None, typer.Option("--width", metavar="N", min=1, help="In pixels. Default: as recorded.")
    ] = None,
    fps: Annotated[
        float, typer.Option("--fps", metavar="N", min=0.1, callback=_finite, help="Frames per second of the files.")
    ] = 16.0,
    role: Annotated[
        str | None,
        typer.Option("--role", metavar="NAME", help="Of a run directory. Default: the role that its method samples."),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option("--step", metavar="N", min=0, help="Of a run directory. Default: its newest good checkpoint."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="DIR", help="Of a run that was moved: the folder that the role started from."),
    ] = None,
) -> None:
    """Write an mp4 file (of one frame, a png) per prompt and seed, and print its path.

    "As recorded" is what a run directory or an export says of how it is sampled, e.g. its few steps.
    """
    from distill_core.cli.waiting import waiting
    from distill_core.data.encoding.captions import CaptionEntry, read_prompts
    from distill_core.running.output_folder import check_output_folder

    entries = [*(CaptionEntry(0, text) for text in prompt or ()), *(read_prompts(prompts) if prompts else ())]
    wanted = [entry.caption for entry in entries]
    if not wanted:
        raise ConfigError([Problem("", "nothing to show; give --prompt TEXT or --prompts FILE")], "distill sample")
    if steps is not None and timesteps is not None:
        raise ConfigError([Problem("--steps", "the timesteps say how many; leave out --steps")], "distill sample")
    grid = None if timesteps is None else listed_timesteps(timesteps, "distill sample")
    check_output_folder(output)
    with waiting("importing torch") as say:
        from distill_core.finished.sample import SampleOrder, load

        order = SampleOrder(
            source=source,
            output=output,
            prompts=tuple(wanted),
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
            first_frames=_of_each(image, len(wanted)),
            last_frames=_of_each(last_image, len(wanted)),
            listed=_listed(entries, prompts),
        )
        say(f"loading {source}")
        sampling = load(order)
    for each in sampling.remarks:
        remark(f"note: {each}")
    with _bar(len(wanted) * len(order.seeds)) as advance:
        for path in sampling.write_videos():
            answer(str(path))
            advance()
    if (speed := sampling.speed) is not None:
        remark(
            f"by blocks: the first could be shown after {speed.first_block_seconds:.2f} s, {speed.frames_per_second:.2f} frames per second "
            "(means over the videos)"
        )


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
