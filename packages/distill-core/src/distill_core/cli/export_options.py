"""What ``distill export`` is asked for: its arguments and options, each with its help. Knows nothing of what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

BASE_HELP = "The folder or hub id that the role started from, if the run was moved and it is not where it was."

Run = Annotated[
    Path, typer.Argument(metavar="RUN", exists=True, file_okay=False, help="A run directory.", show_default=False)
]
Output = Annotated[
    Path, typer.Option("--output", metavar="DIR", help="The folder to make; must not exist, or be empty.")
]
Role = Annotated[str | None, typer.Option("--role", metavar="NAME", help="Default: the role that the method samples.")]
Step = Annotated[
    int | None, typer.Option("--step", metavar="N", min=0, help="Which checkpoint. Default: the newest good one.")
]
Averaged = Annotated[
    bool,
    typer.Option("--averaged/--trained", help="The role's EMA weights, if it kept an EMA, or those last trained."),
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"], typer.Option("--dtype", help="What the weights are stored in.")
]
Timesteps = Annotated[
    str | None,
    typer.Option(
        "--timesteps", metavar="T,T,…", help="Sample at these instead of the method's own, e.g. 1000,750,500,250."
    ),
]
Base = Annotated[str | None, typer.Option("--base", metavar="DIR", help=BASE_HELP)]
Lora = Annotated[
    bool,
    typer.Option(
        "--lora", help="Write the LoRA that the role trained by itself, instead of a pipeline with it merged."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was exported as JSON.")]
