"""distill_core.cli.data, .encoding and .family: `distill data encode`, as a person types it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from data_command import run
from data_sets import clip, write_clips
from torch import Tensor
from typer.core import TyperGroup, TyperOption
from typer.main import get_command

from distill_core.cli.data import app
from distill_core.cli.encoding import SKIPPED_SHOWN, summary_lines
from distill_core.cli.family import chosen_family
from distill_core.data.encoding.report import Fate
from distill_core.data.encoding.shard import Shard
from distill_core.data.reading.dataset import open_dataset
from distill_core.errors import DataError, ModelFolderError, PluginError, RunDirectoryError
from distill_core.plugins.index import PluginIndex
from distill_core.testing.toy import ToyModel
from distill_core.testing.toy_spec import TEXT_LENGTH, TOY, write_toy_model
from distill_core.video.writing import write_mp4


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
    with pytest.raises(RunDirectoryError, match=r"other settings \(dtype: float32 there, float16 here\)"):
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
    with pytest.raises(DataError, match="--bucket 5x16x is not of the form FRAMESxHEIGHTxWIDTH"):
        run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--bucket", "5x16x")


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
    assert chosen_family(PluginIndex.of(models=[TOY]), None, None) is TOY
    assert chosen_family(PluginIndex.of(models=[TOY, other]), "other", None) is other
    with pytest.raises(PluginError, match="say which with --family: other, toy"):
        chosen_family(PluginIndex.of(models=[TOY, other]), None, None)
    with pytest.raises(PluginError, match="no model family is installed"):
        chosen_family(PluginIndex.of(), None, None)


def test_a_summary_says_how_many_more_were_skipped_and_what_shapes_there_are() -> None:
    skipped = [Fate(f"{number}.mp4", encoded=False, reason="it has no caption") for number in range(SKIPPED_SHOWN + 3)]
    encoded = [Fate(f"long-{frames}.mp4", encoded=True, latent=(2, frames, 4, 4)) for frames in (5, 3)]
    lines = summary_lines([*skipped, *encoded], Path("out"), Shard(), whole=True)
    assert lines[0] == f"encoded 2 of {SKIPPED_SHOWN + 5} into out"
    assert lines[-2:] == [
        "and 3 more, see out/_report.jsonl",
        "latents [C, T, H, W], each shape a bucket of its own: [2, 5, 4, 4] × 1, [2, 3, 4, 4] × 1",
    ]


def test_the_commands_import_nothing_heavy_before_they_are_run() -> None:
    heavy = "{'torch', 'numpy', 'pyarrow', 'av', 'rich.progress'} & set(sys.modules)"
    code = f"import sys, distill_core.cli.data; print(sorted({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


PROGRAM = """
import contextlib, io, json, sys
from distill_core.cli import main

told = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main(arguments)
    told.append(said.getvalue())
print(json.dumps([told, "torch" in sys.modules]))
"""
"""Runs commands; prints what each says on stderr, and whether torch has been imported for them."""


def test_a_wrong_path_is_told_before_torch_is_imported(videos: Path, tmp_path: Path) -> None:
    there, nowhere = str(videos), str(tmp_path / "nowhere")
    commands = [
        ["data", "encode", there, "--model", nowhere, "--output", str(tmp_path / "out")],
        ["data", "encode", nowhere, "--model", there, "--output", str(tmp_path / "out")],
        ["data", "validate", there, "--model", nowhere],
        ["data", "trajectories", nowhere, "--source", there],
    ]
    program = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    told, heavy = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    assert [each.startswith("error: ") and nowhere in each for each in told] == [True] * len(commands), told
    assert not heavy


@pytest.mark.parametrize("rate", ["inf", "nan", "1001", "0"])
def test_a_rate_that_no_clip_has_is_the_commands_fault_and_no_videos(
    toy: Path, videos: Path, tmp_path: Path, rate: str
) -> None:
    result = run("encode", videos, "--model", toy, "--output", tmp_path / "out", "--fps", rate)
    assert result.exit_code == 2
    assert "Invalid value for '--fps'" in result.output
    assert "cannot be looked at" not in result.output


def test_every_option_of_a_data_command_says_what_it_takes_in_its_own_word() -> None:
    commands = get_command(app)
    assert isinstance(commands, TyperGroup)
    plain = [
        f"{name} {option.name}"
        for name, command in commands.commands.items()
        for option in command.params
        if isinstance(option, TyperOption) and not option.is_flag and option.metavar is None
        if option.name not in ("dtype", "hdr")  # which show their choices
    ]
    assert plain == []
