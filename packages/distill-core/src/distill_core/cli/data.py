"""``distill data``: make training data, and look at them. Imports nothing heavy before a command is run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make training data from videos and captions, and look at them.", no_args_is_help=True)

CAPTIONS_SHOWN = 3


class StoredDtype(StrEnum):
    """The dtypes that data can be stored in."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


@app.command()
def encode(
    source: Annotated[Path, typer.Argument(help="A folder of videos; with --captions-only a captions file.")],
    model: Annotated[str, typer.Option(help="Pipeline folder, or hub id, whose encoders are to be used.")],
    output: Annotated[Path, typer.Option(help="The data set to make: a folder that is not there yet.")],
    family: Annotated[str | None, typer.Option(help="Model plugin; needed only where several are installed.")] = None,
    num_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of each clip; shorter ones are skipped.")
    ] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Pixel rows of each clip.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Pixel columns of each clip.")] = None,
    fps: Annotated[float | None, typer.Option(min=0.01, help="Frames per second of each clip.")] = None,
    captions: Annotated[Path | None, typer.Option(help="A .jsonl or .csv of videos and their captions.")] = None,
    captions_only: Annotated[bool, typer.Option("--captions-only", help="SOURCE is captions without videos.")] = False,
    dtype: Annotated[StoredDtype, typer.Option(help="What tensors are stored in.")] = StoredDtype.FLOAT32,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data set at --output, once the new one is whole.")
    ] = False,
) -> None:
    """Encode videos with captions, or captions alone, into parquet files to train on.

    Captions are taken from captions.jsonl, captions.csv, metadata.jsonl or metadata.csv in the folder, or from a .txt
    beside each video. What became of each clip stands in report.jsonl beside the data.
    """
    from distill_core.cli.encoding import EncodeRequest, carry_out

    carry_out(
        EncodeRequest(
            source=source,
            model=model,
            output=output.resolve(),
            family=family,
            num_frames=num_frames,
            height=height,
            width=width,
            fps=fps,
            captions=captions,
            captions_only=captions_only,
            dtype=dtype.value,
            overwrite=overwrite,
        )
    )


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A data set: a folder of parquet files, or one file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a data set holds: schema, rows, shapes, the first captions. Reads no latent."""
    import json

    from distill_core.data.dataset import open_dataset

    dataset = open_dataset(path, latents=False)
    summary = dataset.summary()
    clips = sum(summary.latent_shapes.values())
    facts = {
        "path": str(path),
        "schema": "text-only" if not clips else "T2V" if clips == summary.rows else "T2V and text-only",
        "files": len(dataset.files),
        "bytes": sum(file.bytes for file in dataset.files),
        "rows": summary.rows,
        "latent_shapes": [{"shape": shape, "rows": rows} for shape, rows in sorted(summary.latent_shapes.items())],
        "text_widths": summary.text_widths,
        "max_text_length": summary.max_text_length,
        "captions": dataset.captions(CAPTIONS_SHOWN),
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    shapes = ", ".join(f"{list(shape)} × {rows}" for shape, rows in sorted(summary.latent_shapes.items()))
    typer.echo(f"{facts['schema']}: {summary.rows} rows in {facts['files']} files, {facts['bytes']} bytes")
    typer.echo(f"latents [C, T, H, W]: {shapes or 'none'}")
    typer.echo(f"text: at most {summary.max_text_length} tokens of {', '.join(map(str, summary.text_widths))} features")
    for caption in dataset.captions(CAPTIONS_SHOWN):
        typer.echo(f"caption: {caption}")
