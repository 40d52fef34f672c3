"""``distill data``: make training data, and look at them. Imports nothing heavy before a command is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill_core.cli import encode_options as given
from distill_core.cli.encode_options import HighDynamicRange, StoredDtype
from distill_core.errors import RunDirectoryError
from distill_core.terminal import answer, notes, remark

app = typer.Typer(help="Make training data from videos and captions, and look at them.", no_args_is_help=True)

DataSet = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A data set: a folder of parquet files, one file, or one of the Hugging Face Hub, owner/name.",
    ),
]
Family = Annotated[
    str | None, typer.Option(metavar="NAME", help="Model plugin; needed only where several take the folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TextLength = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Text tokens that the model attends, padding included; by default what its folder says.",
    ),
]
Pixels = Annotated[int | None, typer.Option(min=1, metavar="N", help="Pixel rows or columns of each clip.")]


@app.command()
def encode(
    source: given.Source,
    model: given.Model,
    output: given.Output,
    family: Family = None,
    num_frames: given.NumFrames = None,
    height: Pixels = None,
    width: Pixels = None,
    bucket: given.Bucket = None,
    clips_per_video: given.ClipsPerVideo = 1,
    fps: given.Fps = None,
    hdr: given.Hdr = HighDynamicRange.TONE_MAP,
    captions: given.Captions = None,
    captions_only: given.CaptionsOnly = False,
    dtype: given.Dtype = StoredDtype.FLOAT32,
    text_length: TextLength = None,
    shard: given.Shard = None,
    overwrite: given.Overwrite = False,
) -> None:
    """Encode videos with captions, or captions alone, into parquet files to train on.

    Captions are taken from captions.* or metadata.* (.jsonl, .json, .csv, .tsv, .parquet) in the folder and in each folder below, or from
    a .txt beside each video. What became of each clip stands in _report.jsonl beside the data.

    Stopped, the same command goes on where it was. Given again, it encodes only what is new.
    """
    from distill_core.cli.waiting import waiting

    with waiting(f"looking at {model}") as say:
        from distill_core.data.encoding.sources import refuse_no_folder

        if not captions_only:
            refuse_no_folder(source)
        _refuse_no_model(model, family, text_length)
        say("importing torch")
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
            bucket=() if bucket is None else tuple(bucket),
            clips_per_video=clips_per_video,
            fps=fps,
            hdr=hdr.value,
            captions=captions,
            captions_only=captions_only,
            dtype=dtype.value,
            text_length=text_length,
            shard=shard,
            overwrite=overwrite,
        )
    )


def _refuse_no_model(path: str, family: str | None, text_length: int | None) -> None:
    """Raise DistillError for what is no model to encode with, before torch is imported."""
    from distill_core.cli.family import chosen_model
    from distill_core.plugins.discovery import discover

    chosen_model(discover(), family, path, text_length)


@app.command()
def trajectories(
    path: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run that will train on them, at data.path.")],
    source: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="The data set whose rows they are made of: captions alone, or clips; or one of the Hub."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Keys of the YAML to override, e.g. roles.NAME.path=FOLDER"),
    ] = None,
    dtype: Annotated[StoredDtype, typer.Option(help="What they are stored in.")] = StoredDtype.FLOAT32,
    per_row: Annotated[
        int, typer.Option(min=1, metavar="N", help="So many of each row, each from a noise of its own.")
    ] = 1,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Make the I-th of N parts, beside other processes; torchrun says it itself."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data set at data.path, once the new one is whole.")
    ] = False,
) -> None:
    """Make what a run's method learns from before it trains: e.g. the paths of a trained model from noise to sample.

    The rows of --source and what was made of them become a new data set at the run's data.path. How it was made (steps, shift,
    guidance, dtype, weights) is recorded in it, and a run that asks for something else is refused.

    Stopped, the same command goes on where it was.
    """
    from distill_core.cli.waiting import waiting

    with waiting(f"checking {path}") as say:
        from distill_core.config.resolve import examine
        from distill_core.plugins.discovery import discover

        examine(path, overrides or [], discover()).resolved()
        say("importing torch")
        from distill_core.cli.making import MakingRequest, carry_out

    carry_out(MakingRequest(path, overrides or [], source, dtype.value, per_row, shard, overwrite))


@app.command()
def inspect(
    path: DataSet,
    as_json: AsJson = False,
    preview: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Decode N rows into a page of playing clips.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The page; _preview.html beside the data by default.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="What decodes; by default the model that the data set was encoded with."),
    ] = None,
    family: Family = None,
) -> None:
    """Show what a data set holds: schema, rows, shapes, captions, how it was made. Reads no latent without --preview."""
    import json

    from distill_core.cli.mistaken import no_model
    from distill_core.cli.waiting import waiting

    with waiting(f"reading {path}"), no_model(path):
        from distill_core.data.examining.overview import overview
        from distill_core.data.reading.hub_data import fetched

        folder = fetched(str(path))
        found = overview(folder)
    if as_json:
        answer(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        answer("\n".join(found.lines()))
    if preview is not None:
        from distill_core.cli.examining import show_preview

        if folder != path and output is None:
            raise RunDirectoryError(
                f"{path} is a data set of the Hugging Face Hub; say where the page is to be with --output"
            )
        page = show_preview(folder, preview, output, model, family)
        remark(f"the clips play in {page}")


@app.command()
def validate(
    path: DataSet,
    model: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Pipeline folder, or hub id, that the rows must fit; none by default."),
    ] = None,
    family: Family = None,
    text_length: TextLength = None,
    as_json: AsJson = False,
) -> None:
    """Read every row, and name the bad ones: file:row, why. Exit status 1 if there are any."""
    import json
    from dataclasses import asdict

    from distill_core.cli.mistaken import no_model
    from distill_core.cli.waiting import waiting

    if model is not None:
        with waiting(f"looking at {model}"):
            _refuse_no_model(model, family, text_length)
    with waiting(f"reading {path}") as say, no_model(path):
        from distill_core.cli.examining import examine_for
        from distill_core.data.reading.hub_data import fetched

        found = examine_for(fetched(str(path)), model, family, text_length, say)
    if as_json:
        answer(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        for fault in found.faults:
            answer(str(fault))
        notes(found.notes)
        bad = f"{len(found.faults)} bad" if found.faults else "all good"
        files = "1 file" if found.files == 1 else f"{found.files} files"
        remark(f"{found.rows} rows in {files}: {bad}")
    if found.faults:
        raise typer.Exit(1)
