"""``distill sample``: what it takes prompts from, what it refuses, and where its result goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.commands.conftest import Command
from tests.commands.terminals import shown

from distill_core.config.sampled import Validation

SMALL = ("--num-frames", "5", "--height", "16", "--width", "16", "--steps", "1", "--guidance", "1")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prompts.txt", "\ufeffred ball\n\n  blue box \n"),
        ("prompts", "red ball\r\nblue box\r\n"),
        ("prompts.jsonl", '{"file_name": "a.mp4", "caption": "red ball"}\n{"prompt": "blue box"}\n'),
        ("prompts.csv", "video,caption\na.mp4,red ball\nb.mp4,blue box\n"),
    ],
)
def test_prompts_are_read_as_captions_are(distill: Command, tiny: Path, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    out = tmp_path / "out"
    result = distill("sample", tiny, "--prompts", tmp_path / name, *SMALL, "--output", out)
    assert result.code == 0, result.err
    names = ["0000-red-ball-seed0.mp4", "0001-blue-box-seed0.mp4"]
    assert result.out.splitlines() == [str(out / name) for name in names]
    assert [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()] == [
        {"file_name": names[0], "caption": "red ball"},
        {"file_name": names[1], "caption": "blue box"},
    ]


def test_prompts_that_are_no_text_are_refused(distill: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes(b"caf\xe9\n")
    result = distill("sample", tiny, "--prompts", tmp_path / "prompts.txt", "--output", tmp_path / "out")
    assert result.code == 65
    assert "is not UTF-8 text" in result.err


def test_a_prompt_of_another_encoding_is_refused(distill: Command, tiny: Path, tmp_path: Path) -> None:
    result = distill("sample", tiny, "--prompt", "caf\udce9", *SMALL, "--output", tmp_path / "out")
    assert result.code == 2
    assert "is no UTF-8 text" in result.err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("empty", "is no diffusers pipeline folder: it has no model_index.json; expected what the save_pretrained of a "),
        ("weights.safetensors", "is a file; it has none of the other parts: make a folder with the file parts.json, "),
        ("single", "it holds single files; of weights.safetensors, if that is the denoiser, it has none of the other parts"),
        ("of-nobody", "is a pipeline of class Toys, which is not supported; installed are "),
        ("run/checkpoints/step-00000002", "run: name that, and of its checkpoints one by --step"),
        ("missing", "does not exist; "),
    ],
)  # fmt: skip
def test_what_can_be_no_source_is_refused_once_before_torch(
    distill: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    for folder in ("empty", "single", "of-nobody", "run/checkpoints/step-00000002"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "run" / "resolved.yaml").touch()
    for file in ("weights.safetensors", "single/weights.safetensors"):
        (tmp_path / file).touch()
    (tmp_path / "of-nobody" / "model_index.json").write_text('{"_class_name": "Toys"}')
    monkeypatch.setitem(sys.modules, "distill_core.finished.sample", None)
    result = distill("sample", tmp_path / source, "--prompt", "red", "--output", tmp_path / "out")
    assert result.code == 2
    assert result.err.count(said) == 1, result.err
    assert len(result.err) < 1000


@pytest.mark.parametrize("option", [("--role", "denoiser"), ("--step", "2")])
def test_what_only_a_run_has_is_refused_of_a_folder(
    distill: Command, tiny: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    result = distill("sample", tiny, "--prompt", "red", *option, *SMALL, "--output", tmp_path / "out")
    assert result.code == 2
    assert f"{option[0]}: {tiny} is no run directory" in result.err
    assert not (tmp_path / "out").exists()


def test_videos_of_others_are_not_mixed_with(distill: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.jsonl").write_text("{}\n")
    result = distill("sample", tiny, "--prompt", "red", *SMALL, "--output", tmp_path)
    assert result.code == 73
    assert "belongs to other videos" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["captions.jsonl"]


@pytest.mark.parametrize("option", ["--guidance", "--fps"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_that_are_none_are_refused(
    distill: Command, tiny: Path, tmp_path: Path, option: str, value: str
) -> None:
    result = distill("sample", tiny, "--prompt", "red", *SMALL, option, value, "--output", tmp_path / "out")
    assert result.code == 2
    assert option in result.err


def test_the_defaults_that_help_names_are_those_in_force(distill: Command) -> None:
    words = " ".join(distill("sample", "--help").out.split())
    assert f"Default: as recorded, else {Validation().sampling_steps}. " in words
    assert f"Default: as recorded, else {Validation().guidance_scale:g}. " in words


def test_paths_go_to_stdout_although_a_bar_is_on_the_terminal(tmp_path: Path) -> None:
    script = """\
from distill_core.cli.sample import _bar

with _bar(1) as advance:
    print("a.mp4")
    advance()
"""
    with (tmp_path / "out").open("w") as file:
        text = shown(script, file.fileno())
    assert (tmp_path / "out").read_text() == "a.mp4\n"
    assert "1/1" in text
