"""distill_core.cli.examining and .data: `distill data inspect` and `distill data validate`, as a person types them."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_command import run
from data_sets import caption, clip, write_captions, write_clips

from distill_core.data.reading.columns import T2V_SCHEMA
from distill_core.data.reading.dataset import open_dataset
from distill_core.errors import DataError, RunDirectoryError
from distill_core.testing.toy_spec import TEXT_LENGTH
from distill_core.video.reading import read_video


def test_inspect_shows_what_a_data_set_holds(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", [clip(0), clip(1, tokens=3), clip(2, shape=(3, 5, 4, 4))])
    size = (tmp_path / "clips" / "data-00000.parquet").stat().st_size
    facts = json.loads(run("inspect", tmp_path / "clips", "--json").stdout)
    print_ = open_dataset(tmp_path / "clips", latents=True).fingerprint()
    assert facts == {
        "path": str(tmp_path / "clips"),
        "schema": "T2V",
        "files": 1,
        "bytes": size,
        "rows": 3,
        "latent_shapes": [{"shape": [3, 2, 4, 4], "rows": 2}, {"shape": [3, 5, 4, 4], "rows": 1}],
        "pixels": {"5x32x32": 3},
        "fps": {"16": 3},
        "text_widths": [5],
        "text_lengths": [3, 17 / 3, 7],
        "captions": 3,
        "first_captions": ["caption 0", "caption 1", "caption 2"],
        "fingerprint": print_,
        "origin": None,
        "further_origins": [],
    }
    assert run("inspect", tmp_path / "clips").stdout.splitlines() == [
        f"T2V: 3 rows in 1 file, {size / 1000:.3g} kB",
        "latents [C, T, H, W]: [3, 2, 4, 4] × 2, [3, 5, 4, 4] × 1",
        "clips, frames x height x width: 5x32x32 × 3",
        "frames per second: 16 × 3",
        "text: 3 to 7 tokens, 5.7 on average, of 5 features",
        "captions: 3 different",
        "  caption 0",
        "  caption 1",
        "  caption 2",
        f"fingerprint: {print_}",
    ]


def test_inspect_says_what_encoded_a_data_set(toy: Path, videos: Path, tmp_path: Path) -> None:
    run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--num-frames", 5)
    origin = json.loads(run("inspect", tmp_path / "out", "--json").stdout)["origin"]
    assert (origin["family"], origin["model"], origin["settings"]["num_frames"]) == ("toy", str(toy), 5)
    settings = f"kind clips, dtype float32, num_frames 5, clips_per_video 1, text_length {TEXT_LENGTH}"
    made = f"encoded with {toy} (toy): {settings}"
    assert made in run("inspect", tmp_path / "out").stdout.splitlines()


def test_a_preview_shows_what_will_be_trained_on(toy: Path, videos: Path, tmp_path: Path) -> None:
    (videos / "captions.jsonl").write_text(
        '{"video": "a.mp4", "caption": "<A> & co"}\n{"video": "c.mp4", "caption": "C"}'
    )
    run("encode", videos, "--model", toy, "--output", tmp_path / "out")
    result = run("inspect", tmp_path / "out", "--preview", 9)
    page = (tmp_path / "out" / "_preview.html").read_text()
    assert f"the clips play in {tmp_path / 'out' / '_preview.html'}" in result.stderr
    assert page.count("<video ") == 2
    assert "&lt;A&gt; &amp; co" in page
    assert "<A>" not in page
    clips = [base64.b64decode(data) for data in re.findall(r'base64,([^"]+)"', page)]
    (tmp_path / "clip.mp4").write_bytes(clips[0])
    video = read_video(tmp_path / "clip.mp4")
    assert (video.frames.shape, video.fps) == ((5, 16, 16, 3), 8)
    assert "http" not in page.replace("http-equiv", "")
    run("encode", videos, "--model", toy, "--output", tmp_path / "out")  # the page is no obstacle


def test_captions_alone_have_no_preview(tmp_path: Path) -> None:
    write_captions(tmp_path, [caption(0)])
    with pytest.raises(DataError, match="captions without latents: there are no clips to show"):
        run("inspect", tmp_path, "--preview", 1)


def test_a_preview_of_other_peoples_data_needs_a_model_that_fits(toy: Path, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", [replace(clip(n, shape=(2, 2, 4, 4)), text_LD=torch.ones(3, 4)) for n in range(5)])
    with pytest.raises(DataError, match="does not record the model that encoded it; name it with --model"):
        run("inspect", tmp_path / "clips", "--preview", 2)
    page = tmp_path / "page.html"
    run("inspect", tmp_path / "clips", "--preview", 2, "--model", toy, "--output", page)
    assert re.findall(r"<small>(clip-\d)</small>", page.read_text()) == ["clip-0", "clip-2"]
    write_clips(tmp_path / "other", [clip(0)])
    with pytest.raises(DataError, match=r"row clip-0 does not fit .* 3 channels"):
        run("inspect", tmp_path / "other", "--preview", 2, "--model", toy)
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        run("inspect", tmp_path / "clips", "--preview", 2, "--model", toy, "--output", tmp_path / "no" / "page.html")


def spoil(file: Path) -> None:
    """Row 1 holds a NaN, row 2 a shape that contradicts its bytes, row 3 has other channels than the rest, row 4 other text."""
    table = [clip(number).columns() for number in range(6)]
    table[1]["vae_latent_bytes"] = np.full(96, np.nan, np.float32).tobytes()
    table[2]["vae_latent_shape"] = [3, 2, 4, 5]
    table[3] = clip(3, shape=(4, 2, 4, 4)).columns()
    table[4] = replace(clip(4), text_LD=torch.ones(3, 8)).columns()
    pq.write_table(pa.Table.from_pylist(table, schema=T2V_SCHEMA), file)


def test_validate_names_every_bad_row_and_exits_with_1(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "clips", map(clip, range(4)), rows_per_file=2)
    assert (run("validate", folder).exit_code, run("validate", folder).stdout) == (0, "")
    assert run("validate", folder).stderr == "4 rows in 2 files: all good\n"
    spoil(folder / "data-00005.parquet")
    (folder / "data-00003.parquet").write_bytes(b"not parquet at all")
    result = run("validate", folder)
    file = folder / "data-00005.parquet"
    first, *rows = result.stdout.splitlines()
    assert result.exit_code == 1
    assert first.startswith(f"{folder / 'data-00003.parquet'}: is no parquet file or is damaged")
    assert rows == [
        f"{file}:1: vae_latent holds NaN or infinity",
        f"{file}:2: vae_latent has 384 bytes; its shape [3, 2, 4, 5] in float32 makes 480",
        f"{file}:3: its latent has 4 channels, that of the most rows has 3",
        f"{file}:4: its text has 8 features, that of the most rows has 5",
    ]
    assert result.stderr.splitlines() == [
        "note: ids are not unique: 2 rows are called 'clip-0'",
        "10 rows in 4 files: 5 bad",
    ]


def test_validate_prints_json(tmp_path: Path) -> None:
    tmp_path.joinpath("clips").mkdir()
    spoil(tmp_path / "clips" / "a.parquet")
    found = json.loads(run("validate", tmp_path / "clips", "--json").stdout)
    assert (found["files"], found["rows"], [fault["row"] for fault in found["faults"]]) == (1, 6, [1, 2, 3, 4])
    assert found["faults"][0] == {
        "file": str(tmp_path / "clips" / "a.parquet"),
        "row": 1,
        "reason": "vae_latent holds NaN or infinity",
    }


def test_validate_names_the_rows_that_do_not_fit_a_model(toy: Path, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", [clip(0), replace(clip(1, shape=(2, 2, 4, 4)), text_LD=torch.ones(3, 4))])
    file = tmp_path / "clips" / "data-00000.parquet"
    assert run("validate", tmp_path / "clips", "--model", toy).stdout.splitlines() == [
        f"{file}:0: its text has 5 features, the model's has 4"
    ]


def test_validate_finds_flipped_bits(tmp_path: Path) -> None:
    file = write_clips(tmp_path, [clip(n, shape=(3, 2, 256, 256)) for n in range(3)]) / "data-00000.parquet"
    latent = clip(1, shape=(3, 2, 256, 256)).columns()["vae_latent_bytes"]
    assert isinstance(latent, bytes)
    content = bytearray(file.read_bytes())
    content[content.index(latent) + 77] ^= 1
    file.write_bytes(content)
    (line,) = run("validate", tmp_path).stdout.splitlines()
    assert line.startswith(f"{file}:1: its row group is damaged: ")


def test_validate_reads_captions_alone(tmp_path: Path) -> None:
    write_captions(tmp_path, map(caption, range(3)))
    assert run("validate", tmp_path).stderr == "3 rows in 1 file: all good\n"


def test_inspect_tells_captions_from_clips(tmp_path: Path) -> None:
    write_captions(tmp_path, [caption(0)])
    assert json.loads(run("inspect", tmp_path, "--json").stdout)["schema"] == "text-only"
    assert "latents [C, T, H, W]: none" in run("inspect", tmp_path).stdout
    write_clips(tmp_path / "clips", [clip(0)])
    assert json.loads(run("inspect", tmp_path, "--json").stdout)["schema"] == "T2V and text-only"
