"""What ``distill data encode`` is asked for: its arguments and options, each with its help. Knows nothing of what becomes of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class StoredDtype(StrEnum):
    """The dtypes that data can be stored in."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class HighDynamicRange(StrEnum):
    """What can be done to videos of high dynamic range."""

    TONE_MAP = "tone-map"
    REFUSE = "refuse"


Source = Annotated[
    Path,
    typer.Argument(metavar="SOURCE", help="A folder of videos and pictures; with --captions-only a captions file."),
]
Model = Annotated[str, typer.Option(metavar="DIR", help="Pipeline folder, or hub id, whose encoders are to be used.")]
Output = Annotated[Path, typer.Option(metavar="DIR", help="The data set to make, or to add what is new to.")]
NumFrames = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Frames of each clip; shorter ones are skipped.")
]
Bucket = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FxHxW",
        help="Frames, height and width that a clip may be made into; HxW of pictures. Repeatable.",
    ),
]
ClipsPerVideo = Annotated[
    int, typer.Option(min=1, metavar="N", help="Cut so many clips at most from one video, one after another.")
]
Fps = Annotated[float | None, typer.Option(min=0.01, max=1000.0, metavar="F", help="Frames per second of each clip.")]
Hdr = Annotated[HighDynamicRange, typer.Option(help="Videos of high dynamic range (PQ, HLG): made SDR, or left out.")]
Captions = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="A .jsonl, .json, .csv, .tsv or .parquet that names each video with its caption."
    ),
]
CaptionsOnly = Annotated[
    bool,
    typer.Option("--captions-only", help="SOURCE is captions alone: a .txt, .jsonl, .json, .csv, .tsv or .parquet."),
]
Dtype = Annotated[StoredDtype, typer.Option(help="What tensors are stored in.")]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Encode the I-th of N parts, beside other processes; torchrun says it itself."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the data set at --output, once the new one is whole.")
]
