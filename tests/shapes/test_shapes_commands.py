"""The commands draw.py, captions.py and judge.py, and what they refuse: one clear line, and nothing written over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import captions
import draw
import judge
import pytest
import torch
from clips import CAPTIONS_FILE, read_rows

from distill_core.video.reading import read_video
from distill_core.video.writing import write_mp4


def _run(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    main()


def test_draw_writes_real_videos_and_their_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(draw.main, monkeypatch, "--output", tmp_path / "clips", "--clips", 3, "--seed", 4)
    rows = [json.loads(line) for line in (tmp_path / "clips" / CAPTIONS_FILE).read_text().splitlines()]
    assert [row["file_name"] for row in rows] == ["00000.mp4", "00001.mp4", "00002.mp4"]
    assert {row["caption"] for row in rows} <= set(captions.captions(captions.SMALL, "exclude"))
    assert read_video(tmp_path / "clips" / "00002.mp4").frames.shape == (9, 32, 32, 3)


def test_drawing_more_clips_leaves_the_first_ones_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (2, 4):
        _run(draw.main, monkeypatch, "--output", tmp_path / str(count), "--clips", count)
    for name in ("00000.mp4", "00001.mp4"):
        assert (tmp_path / "2" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()


def test_draw_writes_over_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit) as exit_info:
        _run(draw.main, monkeypatch, "--output", tmp_path)
    assert exit_info.value.code == 65
    assert "is not empty; name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_held_out_captions_can_be_listed_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(captions.main, monkeypatch, "--held-out", "only")
    assert capsys.readouterr().out.splitlines() == list(captions.captions(captions.SMALL, "only"))


def test_judge_prints_its_figures_as_json(
    real_clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(judge.main, monkeypatch, real_clips, "--against", real_clips, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["accuracy"]["all"] == 1.0
    assert (report["against"]["clips"], report["against"]["coverage"]) == (96, 1.0)


def _clip(folder: Path, frames: int, caption: str, size: int = 32) -> None:
    write_mp4(folder / "00000.mp4", torch.zeros(frames, size, size, 3, dtype=torch.uint8), 8)
    (folder / CAPTIONS_FILE).write_text(json.dumps({"file_name": "00000.mp4", "caption": caption}))


def _no_captions_file(folder: Path) -> None:
    assert not list(folder.iterdir())


def _no_rows(folder: Path) -> None:
    (folder / CAPTIONS_FILE).write_text("\n")


def _caption_outside_the_grammar(folder: Path) -> None:
    _clip(folder, 9, "a dog runs on the beach")


def _other_frames(folder: Path) -> None:
    _clip(folder, 8, "a red square moves left")


def _other_size(folder: Path) -> None:
    _clip(folder, 9, "a red square moves left", size=64)


def _no_video(folder: Path) -> None:
    _clip(folder, 9, "a red square moves left")
    (folder / "00000.mp4").write_text("no video")


def _missing_file(folder: Path) -> None:
    _clip(folder, 9, "a red square moves left")
    (folder / "00000.mp4").unlink()


def _row_without_a_file(folder: Path) -> None:
    (folder / CAPTIONS_FILE).write_text('{"caption": "a red square moves left"}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_captions_file, "captions.jsonl does not exist"),
        (_no_rows, "captions.jsonl holds no caption"),
        (_caption_outside_the_grammar, "is no caption of the small shapes world"),
        (_other_frames, "has 8 frames of 32x32, but the small shapes world has 9 frames of 32x32"),
        (_other_size, "has 9 frames of 64x64"),
        (_no_video, "00000.mp4"),
        (_missing_file, "00000.mp4 is not in"),
        (_row_without_a_file, "captions.jsonl:1: "),
    ],
)
def test_judge_refuses_a_spoilt_folder_in_one_line(
    spoil: Callable[[Path], None],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        _run(judge.main, monkeypatch, tmp_path)
    assert exit_info.value.code == 65
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert message in printed


def test_rows_keep_the_order_of_the_captions_file(real_clips: Path) -> None:
    assert [row.path.name for row in read_rows(real_clips)] == sorted(path.name for path in real_clips.glob("*.mp4"))
