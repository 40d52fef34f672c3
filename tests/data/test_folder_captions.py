"""distill_core.data.encoding.folder_captions and .sources: captions of folders as people have them find their clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_encoding import encode_folder, film, report

from distill_core.data.encoding.folder_captions import CAPTION_FILES
from distill_core.data.encoding.sources import MOST_BESIDE, find_sources
from distill_core.errors import DataError


def fates_of(folder: Path, captions_file: Path | None = None) -> dict[str, str]:
    """Each clip's caption, or its refusal in brackets."""
    return {s.name: f"({s.refusal})" if s.refusal else s.caption for s in find_sources(folder, captions_file)}


def touch(root: Path, *names: str) -> Path:
    """Files with these names; none is opened."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def line(file_name: str, caption: object) -> str:
    return json.dumps({"file_name": file_name, "caption": caption}, ensure_ascii=False) + "\n"


def test_each_folder_may_have_a_captions_file_whose_names_start_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "kitchen/a.mp4", "garden/deep/a.mp4", "garden/b.mp4")
    (tmp_path / "metadata.jsonl").write_text(line("a.mp4", "A"))
    (tmp_path / "kitchen" / "metadata.jsonl").write_text(line("a.mp4", "in the kitchen"))
    (tmp_path / "garden" / "captions.csv").write_text("file_name,caption\ndeep/a.mp4,in the garden\nc.mp4,gone\n")
    assert fates_of(tmp_path) == {
        "a.mp4": "A",
        "garden/b.mp4": "(it has no caption)",
        "garden/deep/a.mp4": "in the garden",
        "kitchen/a.mp4": "in the kitchen",
        "garden/c.mp4": "(garden/captions.csv:3 names it and it is not in the folder)",
    }


def test_a_clip_that_two_captions_files_name_is_ambiguous(tmp_path: Path) -> None:
    touch(tmp_path, "kitchen/a.mp4")
    (tmp_path / "metadata.jsonl").write_text(line("kitchen/a.mp4", "A"))
    (tmp_path / "kitchen" / "metadata.jsonl").write_text(line("a.mp4", "B"))
    there = rf"{tmp_path}/kitchen/metadata\.jsonl:1"
    with pytest.raises(DataError, match=rf"metadata\.jsonl:1: kitchen/a\.mp4 has a caption already \({there}\)"):
        find_sources(tmp_path)
    touch(tmp_path, "kitchen/captions.csv")
    with pytest.raises(DataError, match=r"kitchen holds captions\.csv, metadata\.jsonl; keep one of them"):
        find_sources(tmp_path)


@pytest.mark.parametrize("name", CAPTION_FILES)
def test_every_captions_file_in_the_folder_is_found_by_its_name(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a.mp4", name)
    with pytest.raises(
        DataError, match=rf"{name} (holds no caption|cannot be read as parquet)|{name}:1: this is not JSON"
    ):
        find_sources(tmp_path)


@pytest.mark.parametrize(("on_disk", "in_file"), [("cafe\u0301", "caf\u00e9"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_look_alike_are_one_name(tmp_path: Path, on_disk: str, in_file: str) -> None:
    touch(tmp_path, f"{on_disk}.mp4", f"{on_disk} 2.mp4")
    (tmp_path / "metadata.jsonl").write_text(line(f"{in_file}.mp4", "a red square"), encoding="utf-8")
    (tmp_path / f"{in_file} 2.txt").write_text("a blue square")
    assert fates_of(tmp_path) == {f"{on_disk}.mp4": "a red square", f"{on_disk} 2.mp4": "a blue square"}


def test_one_caption_that_cannot_be_read_skips_its_clip_and_no_other(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    (tmp_path / "a.txt").write_bytes(b"un caf\xe9")
    (tmp_path / "b.txt").write_text("a box")
    with (tmp_path / "c.txt").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "metadata.jsonl").write_text(line("d.mp4", ["a ball", "a red ball"]))
    assert fates_of(tmp_path) == {
        "a.mp4": f"({tmp_path}/a.txt:1: this is not UTF-8 text: unexpected end of data at byte 6; "
        "save it as UTF-8 (in a spreadsheet: CSV UTF-8))",
        "b.mp4": "a box",
        "c.mp4": f"({tmp_path}/c.txt has 1,099,511,627,776 bytes, and at most {MOST_BESIDE:,} are read; split it into several files)",
        "d.mp4": "(metadata.jsonl:1: caption is a list of 2, one text is due)",
    }


def test_a_clip_may_go_by_its_whole_path(tmp_path: Path) -> None:
    folder = touch(tmp_path / "real", "a.mp4", "deep/b.mp4")
    (tmp_path / "linked").symlink_to(folder)
    names = (folder / "a.mp4", tmp_path / "linked" / "deep" / "b.mp4", tmp_path / "other.mp4")
    (folder / "captions.jsonl").write_text("".join(line(str(name), "A") for name in names))
    assert fates_of(tmp_path / "linked") == {
        "a.mp4": "A",
        "deep/b.mp4": "A",
        str(tmp_path / "other.mp4"): "(captions.jsonl:3 names it and it is not in the folder)",
    }


@pytest.mark.parametrize("named", ["A.mp4", "a", "a.mov", "videos/a.mp4"])
def test_a_name_that_is_nearly_that_of_a_clip_is_told_with_it(tmp_path: Path, named: str) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c/b.mp4")
    (tmp_path / "captions.jsonl").write_text(line(named, "A") + line("x/b.mp4", "B"))
    fates = fates_of(tmp_path)
    assert fates[named] == "(captions.jsonl:1 names it and it is not in the folder; is it a.mp4?)"
    assert fates["x/b.mp4"] == "(captions.jsonl:2 names it and it is not in the folder)"


def test_what_may_hold_captions_and_is_not_read_is_told(tmp_path: Path) -> None:
    touch(
        tmp_path, "a.mp4", "b.mp4", "a.json", "b.json", "deep/c.mp4", "deep/c.txt", "deep/notes.txt", "list.csv", "x.md"
    )
    (tmp_path / "metadata.jsonl").write_text(line("a.mp4", "A"))
    remedy = f"it is not read; if it holds captions, add --captions {tmp_path}"
    told = {name: why for name, why in fates_of(tmp_path).items() if not name.endswith(".mp4")}
    assert told == {
        "a.json and 1 more": f"({remedy}/a.json)",
        "deep/notes.txt": "(no clip beside it has its name)",
        "list.csv": f"({remedy}/list.csv)",
        "x.md": "(.md is no kind of video or picture that is read; convert it if it is one)",
    }
    (tmp_path / "list.csv").write_text("path,cap\nb.mp4,B\n")
    fates = fates_of(tmp_path, tmp_path / "list.csv")
    assert (fates["a.mp4"], fates["b.mp4"], fates["metadata.jsonl"]) == (
        "(it has no caption)",
        "B",
        f"({remedy}/metadata.jsonl)",
    )


def test_what_is_not_read_stands_in_the_report(tmp_path: Path) -> None:
    film(tmp_path / "videos" / "a.mp4")
    touch(tmp_path, "videos/videos2caption.json")
    encode_folder(tmp_path / "videos", tmp_path / "out")
    kept, told = report(tmp_path / "out")
    assert (kept["name"], kept["encoded"], told["name"], told["encoded"]) == (
        "a.mp4",
        True,
        "videos2caption.json",
        False,
    )
    assert "--captions" in told["reason"]
