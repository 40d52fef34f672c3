"""distill_core.data.encoding.sources: every file of a folder has a line, whatever its name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from distill_core.data.encoding.sources import Source, find_sources
from distill_core.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def refusals(folder: Path) -> dict[str, str]:
    """Why what is not encoded is not."""
    return {source.name: source.refusal for source in find_sources(folder) if source.refusal}


def test_what_is_no_clip_is_named_by_its_kind(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.heic", "c.heic", "below/d.psd", "noname", "e.jsonl")
    (tmp_path / "a.txt").write_text("a ball")
    assert refusals(tmp_path) == {
        "b.heic and 1 more": ".heic is no kind of video or picture that is read; convert it if it is one",
        "below/d.psd": ".psd is no kind of video or picture that is read; convert it if it is one",
        "noname": "its name has no suffix that says what it is",
        "e.jsonl": f"it is not read; if it holds captions, add --captions {tmp_path}/e.jsonl",
    }


def test_a_captions_file_that_names_a_file_of_another_kind_is_told_the_kind(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.heic")
    lines = [{"file_name": name, "caption": "a ball"} for name in ("a.mp4", "b.heic", "c.mp4")]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert refusals(tmp_path) == {
        "b.heic": "captions.jsonl:2 names it and .heic is no kind of video or picture that is read; convert it if it is one",
        "c.mp4": "captions.jsonl:3 names it and it is not in the folder",
    }


def test_what_is_passed_over_has_a_line(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "_raw/b.mp4")
    (tmp_path / "a.txt").write_text("a ball")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    assert refusals(tmp_path) == {
        "_raw/": "files and folders whose names begin with . or _ are hidden",
        "gone.mp4": "it is a link to nowhere.mp4, which is not there",
    }


def test_a_name_that_is_no_utf_8_is_written_with_escapes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"ma\xf1ana.mp4")).touch()
    (tmp_path / os.fsdecode(b"ma\xf1ana.txt")).write_text("a ball")
    (source,) = find_sources(tmp_path)
    assert source == Source("ma\\udcf1ana.mp4", tmp_path / os.fsdecode(b"ma\xf1ana.mp4"), "a ball")


def test_two_names_that_are_written_alike_are_not_taken_for_one(tmp_path: Path) -> None:
    for name in (b"a\xf1.mp4", b"a\\udcf1.mp4"):
        (tmp_path / os.fsdecode(name)).touch()
        (tmp_path / os.fsdecode(name)).with_suffix(".txt").write_text("a ball")
    first, second = find_sources(tmp_path)
    assert (first.refusal, second.refusal) == ("", "another file has this name, as far as it can be written")
    assert first.name != second.name


def test_a_folder_without_any_clip_says_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path, "a.heic", "b.heic", "_best/c.mp4")
    with pytest.raises(
        DataError, match=r"holds no video and no picture; a\.heic and 1 more: \.heic is no kind .*; _best/: "
    ):
        find_sources(tmp_path)
