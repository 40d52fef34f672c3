"""distill_core.cli.data and .encoding: `distill data encode` and `distill data inspect`, as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from data_sets import caption, clip, write_captions, write_clips
from typer.testing import CliRunner, Result

from distill_core.cli.data import app
from distill_core.cli.encoding import SKIPPED_SHOWN, chosen_family, summary_lines
from distill_core.data.dataset import open_dataset
from distill_core.data.encode import Fate
from distill_core.errors import DataError, ModelFolderError, PluginError, RunDirectoryError
from distill_core.plugins.index import PluginIndex
from distill_core.testing.toy_spec import TOY, write_toy_model
from distill_core.video import write_mp4


def run(*arguments: object) -> Result:
    """One command; a DistillError is raised, as the root command wants it."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy model's folder; the toy family is the only one installed."""
    monkeypatch.setattr("distill_core.cli.encoding.discover", lambda: PluginIndex.of(models=[TOY]))
    return write_toy_model(tmp_path / "model")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two clips with captions and one without."""
    for name in ("a", "b", "c"):
        write_mp4(tmp_path / "videos" / f"{name}.mp4", torch.full((6, 16, 16, 3), 90, dtype=torch.uint8), fps=8)
    (tmp_path / "videos" / "captions.jsonl").write_text(
        '{"video": "a.mp4", "caption": "A"}\n{"video": "c.mp4", "caption": "C"}\n'
    )
    return tmp_path / "videos"


def test_a_folder_of_videos_becomes_a_data_set(toy: Path, videos: Path, tmp_path: Path) -> None:
    result = run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--dtype", "bfloat16")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"encoded 2 of 3 into {tmp_path / 'out'}",
        "  2 × trimmed from 6 to 5 frames",
        "skipped b.mp4: it has no caption",
    ]
    dataset = open_dataset(tmp_path / "out", latents=True)
    assert dataset.captions(9) == ("A", "C")
    assert dataset.summary().latent_shapes == {(2, 2, 4, 4): 2}
    assert dataset[0].text_LD.dtype == torch.bfloat16


def test_every_option_reaches_the_clips(toy: Path, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("path,prompt\nb.mp4,B\n")
    size = ("--height", 8, "--width", 12, "--num-frames", 9, "--fps", 16)
    run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--captions", tmp_path / "other.csv", *size)
    dataset = open_dataset(tmp_path / "out", latents=True)
    assert dataset.captions(9) == ("B",)
    assert dataset.summary().latent_shapes == {(2, 3, 2, 3): 1}


def test_captions_alone_become_a_data_set(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("A\nB\n")
    source = tmp_path / "captions.txt"
    result = run("encode", source, "--captions-only", "--model", toy, "--output", tmp_path / "out")
    assert result.stderr == f"encoded 2 of 2 into {tmp_path / 'out'}\n"
    assert open_dataset(tmp_path / "out", latents=False).captions(9) == ("A", "B")


def test_a_data_set_is_replaced_only_with_overwrite(toy: Path, videos: Path, tmp_path: Path) -> None:
    write_clips(tmp_path / "out", [clip(0)])
    with pytest.raises(RunDirectoryError, match="--overwrite"):
        run("encode", videos, "--model", toy, "--output", tmp_path / "out")
    assert open_dataset(tmp_path / "out", latents=True)[0].id == "clip-0"
    run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--overwrite")
    assert open_dataset(tmp_path / "out", latents=True)[0].id == "a.mp4"


def test_a_fault_is_found_before_anything_is_made(toy: Path, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError):
        run("encode", videos, "--model", videos, "--output", tmp_path / "out")
    with pytest.raises(DataError, match="--num-frames 6"):
        run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--num-frames", 6)
    with pytest.raises(PluginError):
        run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--family", "none-such")
    assert not (tmp_path / "out").exists()


def test_the_family_need_be_named_only_where_there_is_a_choice() -> None:
    other = replace(TOY, name="other")
    assert chosen_family(PluginIndex.of(models=[TOY]), None) is TOY
    assert chosen_family(PluginIndex.of(models=[TOY, other]), "other") is other
    with pytest.raises(PluginError, match="say which with --family: other, toy"):
        chosen_family(PluginIndex.of(models=[TOY, other]), None)
    with pytest.raises(PluginError, match="no model family is installed"):
        chosen_family(PluginIndex.of(), None)


def test_a_summary_says_how_many_more_were_skipped_and_what_to_do_about_lengths() -> None:
    skipped = [Fate(f"{number}.mp4", encoded=False, reason="it has no caption") for number in range(SKIPPED_SHOWN + 3)]
    encoded = [Fate(f"long-{frames}.mp4", encoded=True, latent=(2, frames, 4, 4)) for frames in (5, 3)]
    lines = summary_lines([*skipped, *encoded], Path("out"))
    assert lines[0] == f"encoded 2 of {SKIPPED_SHOWN + 5} into out"
    assert lines[-2:] == [
        "and 3 more, see out/report.jsonl",
        "the clips differ in length; to train on them all, set data.num_latent_t to at most 3",
    ]


def test_inspect_shows_what_a_data_set_holds(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", [clip(0), clip(1), clip(2, shape=(3, 5, 4, 4))])
    size = (tmp_path / "clips" / "data-00000.parquet").stat().st_size
    facts = json.loads(run("inspect", tmp_path / "clips", "--json").stdout)
    assert facts == {
        "path": str(tmp_path / "clips"),
        "schema": "T2V",
        "files": 1,
        "bytes": size,
        "rows": 3,
        "latent_shapes": [{"shape": [3, 2, 4, 4], "rows": 2}, {"shape": [3, 5, 4, 4], "rows": 1}],
        "text_widths": [5],
        "max_text_length": 7,
        "captions": ["caption 0", "caption 1", "caption 2"],
    }
    assert run("inspect", tmp_path / "clips").stdout.splitlines() == [
        f"T2V: 3 rows in 1 files, {size} bytes",
        "latents [C, T, H, W]: [3, 2, 4, 4] × 2, [3, 5, 4, 4] × 1",
        "text: at most 7 tokens of 5 features",
        "caption: caption 0",
        "caption: caption 1",
        "caption: caption 2",
    ]


def test_inspect_tells_captions_from_clips(tmp_path: Path) -> None:
    write_captions(tmp_path, [caption(0)])
    assert json.loads(run("inspect", tmp_path, "--json").stdout)["schema"] == "text-only"
    assert "latents [C, T, H, W]: none" in run("inspect", tmp_path).stdout
    write_clips(tmp_path / "clips", [clip(0)])
    assert json.loads(run("inspect", tmp_path, "--json").stdout)["schema"] == "T2V and text-only"


def test_the_commands_import_nothing_heavy_before_they_are_run() -> None:
    heavy = "{'torch', 'numpy', 'pyarrow', 'av', 'rich.progress'} & set(sys.modules)"
    code = f"import sys, distill_core.cli.data; print(sorted({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
