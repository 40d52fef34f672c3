"""What ``distill sample`` is asked for: its arguments and options, each with its help. Knows nothing of what becomes of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer


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


Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A run directory, a pipeline folder, or a hub id.")]
Output = Annotated[
    Path,
    typer.Option("--output", metavar="DIR", help="The folder for the files, mp4 or png; made if it is not there."),
]
Prompt = Annotated[
    list[str] | None, typer.Option("--prompt", metavar="TEXT", callback=_texts, help="What to show. Repeatable.")
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="A text file of one prompt a line, or captions as .jsonl or .csv, with columns image and last_image of pictures.",
    ),
]
Image = Annotated[
    list[Path] | None,
    typer.Option(
        "--image",
        metavar="FILE",
        help="Of a model that makes videos of a picture: what they begin with. Once for all prompts, or once for each.",
    ),
]
LastImage = Annotated[
    list[Path] | None,
    typer.Option("--last-image", "--last", metavar="FILE", help="The same, what they end with."),
]
Seed = Annotated[
    list[int] | None,
    typer.Option(
        "--seed", metavar="N", min=0, max=2**32 - 1, help="One video per prompt and seed. Repeatable; default 0."
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        min=1,
        help="Steps of the family's own schedule; the number that is recorded keeps the recorded timesteps. "
        "Default: as recorded, else 40.",
    ),
]
Timesteps = Annotated[
    str | None,
    typer.Option("--timesteps", metavar="T,T,…", help="Sample at these, e.g. 1000,750,500,250. Default: as recorded."),
]
NegativePrompt = Annotated[
    str | None,
    typer.Option(
        "--negative-prompt",
        metavar="TEXT",
        callback=_text,
        help="What guidance leads away from. Default: as recorded, else the empty caption.",
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        metavar="S",
        min=0,
        callback=_finite,
        help="uncond + S·(cond - uncond); 1 is none. Default: as recorded, else 5.",
    ),
]
LowNoiseGuidance = Annotated[
    float | None,
    typer.Option(
        "--guidance-2",
        metavar="S",
        min=0,
        callback=_finite,
        help="The same of the expert for low noise, where a model has two. Default: as recorded, else --guidance.",
    ),
]
Sampler = Annotated[
    Literal["ode", "sde"] | None,
    typer.Option("--sampler", help="sde adds fresh noise at each step. Default: as recorded, else the family's."),
]
Blocks = Annotated[
    int | None,
    typer.Option(
        "--blocks",
        metavar="N",
        min=1,
        help="Latent frames made at once, each block on a stream of those before it; as many as there are: the clip at once. "
        "Default: as recorded.",
    ),
]
Window = Annotated[
    int | None,
    typer.Option("--window", metavar="W", min=1, help="With blocks: latent frames before a block that it sees."),
]
Sink = Annotated[
    int | None,
    typer.Option("--sink", metavar="S", min=0, help="And of the very beginning, besides."),
]
NumFrames = Annotated[
    int | None, typer.Option("--num-frames", metavar="N", min=1, help="Frames of each video. Default: as recorded.")
]
Height = Annotated[int | None, typer.Option("--height", metavar="N", min=1, help="In pixels. Default: as recorded.")]
Width = Annotated[int | None, typer.Option("--width", metavar="N", min=1, help="In pixels. Default: as recorded.")]
Fps = Annotated[
    float, typer.Option("--fps", metavar="N", min=0.1, callback=_finite, help="Frames per second of the files.")
]
Role = Annotated[
    str | None,
    typer.Option("--role", metavar="NAME", help="Of a run directory. Default: the role that its method samples."),
]
Step = Annotated[
    int | None,
    typer.Option("--step", metavar="N", min=0, help="Of a run directory. Default: its newest good checkpoint."),
]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="DIR", help="Of a run that was moved: the folder that the role started from."),
]
