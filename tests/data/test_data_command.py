"""distill_core.cli.data, .encoding and .examining: `distill data …`, as a person types it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_sets import caption, clip, write_captions, write_clips
from torch import Tensor
from typer.core import TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner, Result

from distill_core.cli.data import app
from distill_core.cli.encoding import SKIPPED_SHOWN, summary_lines
from distill_core.cli.family import chosen_family
from distill_core.data.columns import T2V_SCHEMA
from distill_core.data.dataset import open_dataset
from distill_core.data.report import Fate
from distill_core.data.shard import Shard
from distill_core.errors import DataError, ModelFolderError, PluginError, RunDirectoryError
from distill_core.plugins.index import PluginIndex
from distill_core.testing.toy import ToyModel
from distill_core.testing.toy_spec import TEXT_LENGTH, TOY, write_toy_model
from distill_core.video import read_video, write_mp4


def run(*arguments: object) -> Result:
    """One command; a DistillError is raised, as the root command wants it."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy model's folder; the toy family is the only one installed."""
    for module in ("encoding", "examining"):
        monkeypatch.setattr(f"distill_core.cli.{module}.discover", lambda: PluginIndex.of(models=[TOY]))
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


def test_the_same_command_again_says_what_it_has_kept(toy: Path, videos: Path, tmp_path: Path) -> None:
    command = ("encode", videos, "--model", toy, "--output", tmp_path / "out")
    run(*command)
    write_mp4(videos / "d.mp4", torch.full((5, 16, 16, 3), 20, dtype=torch.uint8), fps=8)
    (videos / "d.txt").write_text("D")
    first, *_ = run(*command).stderr.splitlines()
    assert first == f"encoded 3 of 4 (2 of them before) into {tmp_path / 'out'}"
    with pytest.raises(RunDirectoryError, match=r"other settings \(dtype float16, not float32\)"):
        run(*command, "--dtype", "float16")


def test_the_encoders_are_loaded_once_and_only_if_something_is_new(
    toy: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []
    init = ToyModel.__init__

    def counted(self: ToyModel, *arguments: Any) -> None:
        loaded.append(1)
        init(self, *arguments)

    monkeypatch.setattr(ToyModel, "__init__", counted)
    command = ("encode", videos, "--model", toy, "--output", tmp_path / "out")
    run(*command)
    assert len(loaded) == 1
    run(*command)
    assert len(loaded) == 1
    (videos / "b.txt").write_text("B")
    run(*command)
    assert len(loaded) == 2


def test_a_text_length_that_the_family_does_not_have_is_refused(toy: Path, videos: Path, tmp_path: Path) -> None:
    command = ("encode", videos, "--model", toy, "--output", tmp_path / "out", "--text-length")
    with pytest.raises(PluginError, match=f"'toy' attend {TEXT_LENGTH} text tokens, not 99; leave out --text-length"):
        run(*command, 99)
    run(*command, TEXT_LENGTH)
    assert open_dataset(tmp_path / "out", latents=True).text_lengths == (TEXT_LENGTH,)


def test_other_weights_make_another_data_set_and_another_place_does_not(
    toy: Path, videos: Path, tmp_path: Path
) -> None:
    run("encode", videos, "--model", toy, "--output", tmp_path / "out")
    shutil.copytree(toy, tmp_path / "copy")
    result = run("encode", videos, "--model", tmp_path / "copy", "--output", tmp_path / "out")
    assert result.stderr.startswith("encoded 2 of 3 (2 of them before)")
    write_toy_model(tmp_path / "copy", seed=7)
    with pytest.raises(RunDirectoryError, match=r"other settings \(the model's encoders\)"):
        run("encode", videos, "--model", tmp_path / "copy", "--output", tmp_path / "out")


def test_ctrl_c_says_that_the_same_command_goes_on(
    toy: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = 0

    def once(self: ToyModel, frames: Tensor) -> Tensor:
        nonlocal encoded
        encoded += 1
        if encoded == 2:
            raise KeyboardInterrupt
        return encode_video(self, frames)

    encode_video = ToyModel.encode_video
    monkeypatch.setattr(ToyModel, "encode_video", once)
    command = ("encode", videos, "--model", toy, "--output", tmp_path / "out")
    stopped = run(*command)
    assert stopped.exit_code != 0
    assert "stopped; what is encoded is kept, and the same command goes on with it" in stopped.stderr
    assert not (tmp_path / "out").exists()
    assert run(*command).stderr.startswith("encoded 2 of 3 (1 of them before)")


def test_processes_share_the_work_by_shards(toy: Path, videos: Path, tmp_path: Path) -> None:
    command = ("encode", videos, "--model", toy, "--output", tmp_path / "out", "--shard")
    assert run(*command, "1/2").stderr.splitlines() == [
        f"encoded 2 of 2 into {tmp_path / 'out'}, shard 1 of 2",
        "  2 × trimmed from 6 to 5 frames",
        f"{tmp_path / 'out'} appears when the other shards are done",
    ]
    assert not (tmp_path / "out").exists()
    run(*command, "2/2")
    assert open_dataset(tmp_path / "out", latents=True).captions(9) == ("A", "C")


def test_buckets_and_clips_of_long_videos_reach_the_data(toy: Path, videos: Path, tmp_path: Path) -> None:
    write_mp4(videos / "b.mp4", torch.full((14, 8, 16, 3), 90, dtype=torch.uint8), fps=8)
    (videos / "b.txt").write_text("B")
    buckets = ("--bucket", "5x16x16", "--bucket", "5x8x16", "--bucket", "9x8x16", "--clips-per-video", 5)
    result = run("encode", videos, "--model", toy, "--output", tmp_path / "out", *buckets)
    assert open_dataset(tmp_path / "out", latents=True).summary().latent_shapes == {
        (2, 2, 4, 4): 2,
        (2, 2, 2, 4): 1,
        (2, 3, 2, 4): 1,
    }
    assert "  3 × cut out: 5 frames" in result.stderr
    assert "each shape a bucket of its own: [2, 2, 4, 4] × 2, " in result.stderr
    with pytest.raises(DataError, match="--bucket 5x16 is not of the form FRAMESxHEIGHTxWIDTH"):
        run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--bucket", "5x16")


def test_a_fault_is_found_before_anything_is_made(
    toy: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the encoders were loaded")

    monkeypatch.setattr("distill_core.testing.toy.ToyModel.__init__", never)
    (tmp_path / "empty.txt").touch()
    out = ("--output", tmp_path / "out")
    with pytest.raises(ModelFolderError):
        run("encode", videos, "--model", videos, *out)
    with pytest.raises(DataError, match="--num-frames 6"):
        run("encode", videos, "--model", toy, *out, "--num-frames", 6)
    with pytest.raises(PluginError):
        run("encode", videos, "--model", toy, *out, "--family", "none-such")
    with pytest.raises(DataError, match=r"empty\.txt holds no caption"):
        run("encode", tmp_path / "empty.txt", "--captions-only", "--model", toy, *out)
    with pytest.raises(DataError, match="--shard 3/2"):
        run("encode", videos, "--model", toy, *out, "--shard", "3/2")
    with pytest.raises(RunDirectoryError, match=r"--output /proc/out cannot be made"):
        run("encode", videos, "--model", toy, "--output", "/proc/out")
    assert not (tmp_path / "out").exists()


def test_the_help_of_captions_names_what_is_taken(toy: Path, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("A\n")
    with pytest.raises(DataError) as refusal:
        run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--captions", tmp_path / "list.txt")
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    (option,) = (parameter for parameter in group.commands["encode"].params if parameter.name == "captions")
    assert isinstance(option, TyperOption)
    suffixes = re.findall(r"\.[a-z]+\b", str(option.help))
    assert suffixes == re.findall(r"\.[a-z]+\b", str(refusal.value).partition("known are ")[2])


def test_the_family_need_be_named_only_where_there_is_a_choice() -> None:
    other = replace(TOY, name="other")
    assert chosen_family(PluginIndex.of(models=[TOY]), None) is TOY
    assert chosen_family(PluginIndex.of(models=[TOY, other]), "other") is other
    with pytest.raises(PluginError, match="say which with --family: other, toy"):
        chosen_family(PluginIndex.of(models=[TOY, other]), None)
    with pytest.raises(PluginError, match="no model family is installed"):
        chosen_family(PluginIndex.of(), None)


def test_a_summary_says_how_many_more_were_skipped_and_what_shapes_there_are() -> None:
    skipped = [Fate(f"{number}.mp4", encoded=False, reason="it has no caption") for number in range(SKIPPED_SHOWN + 3)]
    encoded = [Fate(f"long-{frames}.mp4", encoded=True, latent=(2, frames, 4, 4)) for frames in (5, 3)]
    lines = summary_lines([*skipped, *encoded], Path("out"), Shard(), whole=True)
    assert lines[0] == f"encoded 2 of {SKIPPED_SHOWN + 5} into out"
    assert lines[-2:] == [
        "and 3 more, see out/_report.jsonl",
        "latents [C, T, H, W], each shape a bucket of its own: [2, 5, 4, 4] × 1, [2, 3, 4, 4] × 1",
    ]


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
    assert result.stderr == "10 rows in 4 files: 5 bad\n"


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


def test_the_commands_import_nothing_heavy_before_they_are_run() -> None:
    heavy = "{'torch', 'numpy', 'pyarrow', 'av', 'rich.progress'} & set(sys.modules)"
    code = f"import sys, distill_core.cli.data; print(sorted({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
