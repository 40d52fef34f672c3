"""distill_core.data.encoding.caption_table and .text_files: captions as spreadsheets and word processors write them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill_core.data.encoding.captions import CaptionEntry, read_captions, read_prompts
from distill_core.data.encoding.text_files import MOST_BYTES
from distill_core.errors import DataError


def entries_of(path: Path, content: str, encoding: str = "utf-8") -> list[CaptionEntry]:
    path.write_bytes(content.encode(encoding))
    return read_captions(path)


@pytest.mark.parametrize(
    "content",
    [
        "file_name;caption\r\na.mp4;a red square, moving\r\n",
        "sep=;\r\nfile_name;caption\r\na.mp4;a red square, moving\r\n",
        "file_name\tcaption\na.mp4\ta red square, moving\n",
        'file_name, caption\na.mp4, "a red square, moving"\n',
        'File_Name,Caption,,\r\n"a.mp4","a red square, moving",,\r\n,,,\r\n',
        'caption,file_name\n"a red square, moving",a.mp4',
        'file_name,caption\ra.mp4,"a red square, moving"\r',
        'nr;file_name;size;text\n1;a.mp4;3,5;"a red square, moving"\n',
    ],
    ids=["semicolons", "stated", "tabs", "spaces", "padded", "other order", "old Macintosh", "further columns"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path, content: str, encoding: str) -> None:
    (entry,) = entries_of(tmp_path / "captions.csv", content, encoding)
    assert (entry.file_name, entry.caption) == ("a.mp4", "a red square, moving")


def test_a_field_may_hold_line_breaks_quotes_and_separators(tmp_path: Path) -> None:
    text = 'video;text\r\na.mp4;"a ""red""\r\nsquare; then\x0cblue"\r\nb.mp4;a 12" disc\r\nc.mp4;\r\nd.mp4\r\n'
    assert entries_of(tmp_path / "a.csv", text) == [
        CaptionEntry(3, 'a "red"\nsquare; then\x0cblue', "a.mp4"),
        CaptionEntry(4, 'a 12" disc', "b.mp4"),
        CaptionEntry(5, "", "c.mp4"),
        CaptionEntry(6, "", "d.mp4"),
    ]


def test_every_row_with_more_fields_than_the_header_is_refused_with_its_line(tmp_path: Path) -> None:
    rows = "a.mp4,a red square, very large, moves left\nb.mp4,a green circle\nc.mp4,a box, blue\n"
    with pytest.raises(DataError) as refusal:
        entries_of(tmp_path / "metadata.csv", f"file_name,caption\n{rows}")
    remedy = "put a text that holds commas between double quotes"
    assert str(refusal.value).splitlines() == [
        f"{tmp_path}/metadata.csv:2: it has 4 fields, the header 2 (file_name, caption); {remedy}",
        f"{tmp_path}/metadata.csv:4: it has 3 fields, the header 2 (file_name, caption); {remedy}",
    ]


def test_of_many_faults_the_first_are_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        entries_of(tmp_path / "a.csv", "caption\n" + "a,b\n" * 25)
    *_, last, more = str(refusal.value).splitlines()
    assert last.startswith(f"{tmp_path}/a.csv:11: it has 2 fields")
    assert more == "and 15 more"


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        ('a.mp4,a ball\nb.mp4,"a box\nc.mp4,a cat\n', 3, "a quote is left open"),
        ('a.mp4,a ball\nb.mp4,"a box\nc.mp4,"a cat"\n', 3, "something follows a closing quote"),
        ('a.mp4,"a "red" ball"\n', 2, "something follows a closing quote"),
        ('a.mp4,"' + "x" * 200_000 + "\n", 2, "is a quote left open"),
    ],
    ids=["open to the end", "open to the next quote", "single inside", "without end"],
)
def test_a_quote_that_is_left_open_is_refused_with_the_line_where_it_opens(
    tmp_path: Path, content: str, line: int, why: str
) -> None:
    with pytest.raises(DataError, match=rf"a\.csv:{line}: .*{why}"):
        entries_of(tmp_path / "a.csv", f"file_name,caption\n{content}")


def test_captions_alone_are_not_cut_at_their_commas(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:2: it has 2 fields, the header 1 \(caption\)"):
        entries_of(tmp_path / "a.csv", "caption\na red square, very large\n")


@pytest.mark.parametrize("suffix", [".txt", ".prompts", ""])
def test_only_a_line_break_ends_a_prompt(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"prompts{suffix}"
    path.write_bytes("a red square\u2028moves left, then\x85stops\r\n\na green\x0c circle\x1d moves right\r\n".encode())
    assert [entry.caption for entry in read_prompts(path)] == [
        "a red square\u2028moves left, then\x85stops",
        "a green\x0c circle\x1d moves right",
    ]


def test_a_list_of_one_text_is_that_text_and_no_other_value_is_guessed(tmp_path: Path) -> None:
    lines = ['{"text": ["A"]}', '{"text": ["A", "B"]}', '{"text": 3}', '{"text": {"en": "A"}}', '{"text": "\\ud83d"}']
    assert [(entry.caption, entry.fault) for entry in entries_of(tmp_path / "a.jsonl", "\n".join(lines))] == [
        ("A", ""),
        ("", "text is a list of 2, one text is due"),
        ("", "text is int, one text is due"),
        ("", "text is dict, one text is due"),
        ("", "text holds half a character (a lone surrogate); write it anew"),
    ]
    with pytest.raises(DataError, match=r"a\.jsonl:2: text is a list of 2"):
        read_prompts(tmp_path / "a.jsonl")


@pytest.mark.parametrize("empty", ["null", '""', '" \\n"', "[]"])
def test_of_several_columns_the_first_counts_that_is_not_empty(tmp_path: Path, empty: str) -> None:
    line = (
        f'{{"file_name": {empty}, "path": "a.mp4", "caption": {empty}, "text": "a red square", "prompt": "not this"}}'
    )
    assert entries_of(tmp_path / "a.jsonl", line) == [CaptionEntry(1, "a red square", "a.mp4")]
    pq.write_table(pa.table({"caption": [None, "A"], "text": ["B", "C"]}), tmp_path / "a.parquet")
    assert [entry.caption for entry in read_captions(tmp_path / "a.parquet")] == ["B", "A"]


def test_json_is_a_list_of_entries_or_captions_by_file(tmp_path: Path) -> None:
    as_list = '[{"path": "a.mp4", "cap": ["a red square"], "fps": 16}, {"path": "b.mp4", "cap": ["B"]}]'
    as_object = '{"a.mp4": "a red square", "b.mp4": ["B"]}'
    due = [CaptionEntry(1, "a red square", "a.mp4"), CaptionEntry(2, "B", "b.mp4")]
    assert entries_of(tmp_path / "a.json", as_list) == due
    assert entries_of(tmp_path / "b.json", as_object) == due


@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        ([["A"], ["B"]], ["text", "text"], "two columns have one name"),
        ([["A"]], ["words"], r"no column for the caption; .* \(there are: words\)"),
    ],
)
def test_parquet_whose_columns_are_not_clear_is_refused(
    tmp_path: Path, columns: list[list[str]], names: list[str], message: str
) -> None:
    pq.write_table(pa.table(columns, names), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet:0: {message}"):
        read_captions(tmp_path / "a.parquet")


def test_a_text_that_is_larger_than_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "prompts.txt").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=rf"has 1,099,511,627,776 bytes, and at most {MOST_BYTES:,} are read; split it"):
        read_captions(tmp_path / "prompts.txt")


def test_a_caption_that_no_person_wrote_is_a_fault_of_its_entry(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("x" * (1 << 21) + "\na ball\n")
    first, second = read_captions(tmp_path / "prompts.txt")
    assert (first.caption, first.fault) == ("", "caption has 2,097,152 characters, and at most 1,048,576 are a caption")
    assert (second.caption, second.fault) == ("a ball", "")


def test_parquet_that_grows_when_it_is_decompressed_is_refused_by_its_footer(tmp_path: Path) -> None:
    table = pa.table({"file_name": ["a.mp4"], "caption": ["x" * (40 << 20)]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 50_000
    with pytest.raises(DataError, match=r"a\.parquet has [\d,]+ bytes, which make 4[\d,]+ when they are decompressed"):
        read_captions(tmp_path / "a.parquet")
