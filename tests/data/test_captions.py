"""distill_core.data.encoding.captions and .sources: every caption finds its video, and every fault has its line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill_core.data.encoding.captions import CAPTION_KEYS, FILE_KEYS, CaptionEntry, read_captions
from distill_core.data.encoding.folder_captions import CAPTION_FILES
from distill_core.data.encoding.sources import Source, find_sources
from distill_core.errors import DataError


def folder_with(root: Path, *names: str) -> Path:
    """A folder of files with these names; none is opened."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def captions_of(folder: Path, captions_file: Path | None = None) -> dict[str, str]:
    """Each clip's caption, or its refusal in brackets."""
    return {s.name: f"({s.refusal})" if s.refusal else s.caption for s in find_sources(folder, captions_file)}


def test_text_has_one_caption_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa red ball \n\n  a blue box\r\n")
    assert read_captions(tmp_path / "a.txt") == [CaptionEntry(1, "a red ball"), CaptionEntry(3, "a blue box")]


@pytest.mark.parametrize("file_key", FILE_KEYS)
@pytest.mark.parametrize("caption_key", CAPTION_KEYS)
def test_columns_go_by_the_names_that_are_in_use(tmp_path: Path, file_key: str, caption_key: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"{file_key}": "a.mp4", "{caption_key}": "a ball\u2028\\"red\\""}}\n\n')
    (tmp_path / "a.csv").write_text(f'{file_key},{caption_key}\na.mp4,"a ball, ""red""\nand round"\n')
    pictures = {"first_frame": "a.mp4"} if file_key.startswith("image") else {}
    assert read_captions(tmp_path / "a.jsonl") == [CaptionEntry(1, 'a ball\u2028"red"', "a.mp4", pictures=pictures)]
    assert read_captions(tmp_path / "a.csv") == [
        CaptionEntry(3, 'a ball, "red"\nand round', "a.mp4", pictures=pictures)
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"caption": "x"}\n{oops', r"a\.jsonl:2: this is not JSON: .* at character 2 of line 1"),
        ("a.jsonl", b'["x"]', r"a\.jsonl:1: an object is due"),
        (
            "a.jsonl",
            b'{"video": "a.mp4"}',
            r"a\.jsonl:1: no column for the caption; name it caption, .* or cap \(there are: video\)",
        ),
        ("a.jsonl", b'{"caption": "x", "caption": "y"}', r"a\.jsonl:1: caption stands there twice; keep one of them"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: this is not JSON that holds captions"),
        ("a.jsonl", b'{"caption": "x", "video": 3}', r"a\.jsonl:1: video is int, one text is due"),
        ("a.json", b'"x"', r"a\.json:1: a list of objects is due"),
        ("a.json", b'[{"caption": "x"}, "y"]', r"a\.json:2: an object is due"),
        ("a.csv", b"video,words\na.mp4,x\n", r"a\.csv:1: no column for the caption; .* \(there are: video, words\)"),
        ("a.csv", b"video,text,Text\na.mp4,x,y\n", r"a\.csv:1: two columns are called text; keep one of them"),
        ("a.txt", b"a ball\na caf\xe9\n", r"a\.txt:2: this is not UTF-8 text: .*; save it as UTF-8"),
        ("a.doc", b"", r"a\.doc is no captions file that will do here; known are \.txt, \.jsonl, .*, \.parquet$"),
        ("a.parquet", b"x", r"a\.parquet cannot be read as parquet"),
        ("a.txt", b" \n\n", r"a\.txt holds no caption; write one a line"),
        ("a.jsonl", b"", r"a\.jsonl holds no caption"),
        ("a.csv", b"file,caption\n", r"a\.csv holds no caption"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_captions(tmp_path / name)


def test_captions_are_read_from_parquet(tmp_path: Path) -> None:
    columns = {"path": ["a.mp4", "b.mp4"], "text": ["a ball", None], "size": [1, 2]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert read_captions(tmp_path / "a.parquet") == [CaptionEntry(1, "a ball", "a.mp4"), CaptionEntry(2, "", "b.mp4")]


def test_a_file_of_captions_for_videos_must_be_one_that_can_name_them(tmp_path: Path) -> None:
    folder_with(tmp_path, "a.mp4", "list.txt")
    with pytest.raises(
        DataError, match=r"list\.txt is no captions file that will do here; known are \.jsonl, .*, \.parquet$"
    ):
        find_sources(tmp_path, tmp_path / "list.txt")


def test_a_captions_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.txt cannot be read: No such file"):
        read_captions(tmp_path / "gone.txt")


@pytest.mark.parametrize("name", [name for name in CAPTION_FILES if name.endswith(".jsonl")])
def test_a_captions_file_in_the_folder_is_found(tmp_path: Path, name: str) -> None:
    folder_with(tmp_path, "a.mp4", "deep/b.MOV")
    (tmp_path / name).write_text(
        '{"file_name": "./a.mp4", "caption": "A"}\n{"file_name": "deep\\\\b.MOV", "caption": "B"}'
    )
    assert captions_of(tmp_path) == {"a.mp4": "A", "deep/b.MOV": "B"}


def test_a_clip_without_an_entry_takes_the_text_beside_it(tmp_path: Path) -> None:
    folder_with(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "captions.csv").write_text("video,text\na.mp4,from the table\n")
    (tmp_path / "a.txt").write_text("from beside")
    (tmp_path / "b.txt").write_text("two\nlines \n")
    assert captions_of(tmp_path) == {"a.mp4": "from the table", "b.mp4": "two lines", "c.mp4": "(it has no caption)"}


def test_an_empty_caption_is_none(tmp_path: Path) -> None:
    folder_with(tmp_path, "a.mp4", "b.mp4", "b.txt")
    (tmp_path / "captions.csv").write_text("video,text\na.mp4,\n")
    assert captions_of(tmp_path) == {"a.mp4": "(it has no caption)", "b.mp4": "(it has no caption)"}


def test_an_entry_without_a_file_is_told_and_never_looked_for_outside_the_folder(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "in", "a.mp4")
    folder_with(tmp_path, "secret.mp4")
    (tmp_path / "list.csv").write_text("video,text\na.mp4,A\n../secret.mp4,B\n")
    *_, lost = find_sources(folder, tmp_path / "list.csv")
    reason = f"{tmp_path / 'list.csv'}:3 names it and it is not in the folder"
    assert lost == Source("../secret.mp4", folder / "../secret.mp4", "B", reason)


def test_two_captions_files_or_two_captions_for_one_clip_are_ambiguous(tmp_path: Path) -> None:
    folder_with(tmp_path, "a.mp4", "metadata.csv")
    (tmp_path / "captions.csv").write_text("video,text\na.mp4,A\na.mp4,B\n")
    with pytest.raises(DataError, match=r"captions\.csv, metadata\.csv; say which to take with --captions"):
        find_sources(tmp_path)
    with pytest.raises(DataError, match=r"captions\.csv:3: a\.mp4 has a caption already"):
        find_sources(tmp_path, tmp_path / "captions.csv")


def test_a_caption_without_a_video_to_it_is_refused(tmp_path: Path) -> None:
    folder_with(tmp_path, "a.mp4")
    (tmp_path / "captions.jsonl").write_text('{"caption": "A"}')
    with pytest.raises(DataError, match=r"captions\.jsonl:1: no video is named; give it as file_name, video, "):
        find_sources(tmp_path)


def test_a_folder_that_is_none_or_holds_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone is no folder"):
        find_sources(tmp_path / "gone")
    folder_with(tmp_path, "a.zip")
    with pytest.raises(DataError, match="holds no video"):
        find_sources(tmp_path)
