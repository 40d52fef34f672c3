"""Captions as people write them, and what becomes of them. Printed by tools/data_cases.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from tests.data.cases import Case, Topic, told

from distill_core.cli.encoding import EncodeRequest, carry_out
from distill_core.data.encoding.report import read_report
from distill_core.data.reading.dataset import open_dataset
from distill_core.errors import DistillError
from distill_core.plugins.index import PluginIndex
from distill_core.testing.toy_spec import TOY, write_toy_model
from distill_core.video.writing import write_mp4

PROMPTS = "prompts.txt"


def clips(folder: Path, *names: str) -> Path:
    """Clips of these names; each is another one."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        frames = torch.full((5, 16, 16, 3), 10 + 20 * number, dtype=torch.uint8)
        write_mp4(folder / name, frames, fps=8)
    return folder


def given(content: str | bytes, name: str, *clip_names: str) -> Callable[[Path], None]:
    """What writes a captions file, and clips (a.mp4, if none are named)."""

    def write(folder: Path) -> None:
        clips(folder, *(clip_names or ("a.mp4",)))
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def lines(*entries: dict[str, object]) -> str:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def prompts(content: str) -> Callable[[Path], None]:
    """What writes a file of prompts, without any clip."""

    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / PROMPTS).write_bytes(content.encode())

    return write


def below(folder: Path) -> None:
    for name in ("garden", "kitchen"):
        clips(folder, f"{name}/a.mp4")
        (folder / name / "metadata.jsonl").write_text(lines({"file_name": "a.mp4", "caption": f"in the {name}"}))


def whole_paths(folder: Path) -> None:
    clips(folder, "a.mp4")
    (folder / "captions.jsonl").write_text(lines({"video": str(folder / "a.mp4"), "caption": "a red square"}))


def one_not_readable(folder: Path) -> None:
    clips(folder, "a.mp4", "b.mp4")
    (folder / "a.txt").write_bytes(b"un carr\xe9 rouge")
    (folder / "b.txt").write_text("a green circle")


def fastvideo(folder: Path) -> None:
    entry = {"path": "a.mp4", "cap": ["a red square"], "fps": 8, "resolution": {"width": 16, "height": 16}}
    given(json.dumps([entry]), "videos2caption.json")(folder)


def terabyte(folder: Path) -> None:
    folder.mkdir()
    with (folder / PROMPTS).open("wb") as file:
        file.truncate(1 << 40)


QUOTED = r"put a text that holds commas between double quotes"
CASES = (
    Case(
        "a table with semicolons",
        given("\ufefffile_name;caption\r\na.mp4;a square, red\r\n", "captions.csv"),
        r"^a\.mp4: a square, red$",
    ),
    Case(
        "a table with tabs",
        given("file_name\tcaption\na.mp4\ta square, red\n", "captions.tsv"),
        r"^a\.mp4: a square, red$",
    ),
    Case(
        "a table in UTF-16", given("file_name;caption\r\na.mp4;é\r\n".encode("utf-16"), "captions.csv"), r"^a\.mp4: é$"
    ),
    Case(
        "spaces after commas",
        given('file_name, caption\na.mp4, "a square, red"\n', "captions.csv"),
        r"^a\.mp4: a square, red$",
    ),
    Case(
        "a line break in a field",
        given('file_name,caption\na.mp4,"a\r\nsquare"\r\n', "captions.csv"),
        r"^a\.mp4: a\\nsquare$",
    ),
    Case(
        "commas that are not quoted",
        given("file_name,caption\na.mp4,a square, red, large\n", "metadata.csv"),
        rf"metadata\.csv:2: it has 4 fields, the header 2 \(file_name, caption\); {QUOTED}",
    ),
    Case(
        "a quote that is left open",
        given('file_name,caption\na.mp4,"a square\nb.mp4,a circle\n', "captions.csv", "a.mp4", "b.mp4"),
        r"captions\.csv:2: a quote is left open",
    ),
    Case(
        "no column for captions",
        given("file_name,words\na.mp4,a square\n", "captions.csv"),
        r"captions\.csv:1: no column for the caption; .* \(there are: file_name, words\)",
    ),
    Case(
        "captions in Latin-1",
        given("file_name,caption\na.mp4,carr\xe9\n".encode("latin-1"), "captions.csv"),
        r"captions\.csv:2: this is not UTF-8 text: .*; save it as UTF-8",
    ),
    Case(
        "two columns for captions, the first of them empty",
        given(lines({"file_name": "a.mp4", "caption": None, "text": "a square"}), "metadata.jsonl"),
        r"^a\.mp4: a square$",
    ),
    Case(
        "a list of one caption",
        given(lines({"file_name": "a.mp4", "caption": ["a square"]}), "captions.jsonl"),
        r"^a\.mp4: a square$",
    ),
    Case(
        "a list of two captions",
        given(
            lines({"file_name": "a.mp4", "caption": ["a square", "red"]}, {"file_name": "b.mp4", "caption": "B"}),
            "captions.jsonl",
            "a.mp4",
            "b.mp4",
        ),
        r"^b\.mp4: B; skipped a\.mp4: captions\.jsonl:1: caption is a list of 2, one text is due$",
    ),
    Case("whole paths", whole_paths, r"^a\.mp4: a red square$"),
    Case(
        "videos2caption.json",
        fastvideo,
        r"1 × it is not read; if it holds captions, add --captions videos2caption\.json$",
    ),
    Case(
        "captions.json, files with their captions",
        given('{"a.mp4": "a square"}', "captions.json"),
        r"^a\.mp4: a square$",
    ),
    Case("a captions file in each folder", below, r"^garden/a\.mp4: in the garden; kitchen/a\.mp4: in the kitchen$"),
    Case(
        "é as one character there and as two here",
        given(lines({"file_name": "caf\u00e9.mp4", "caption": "a square"}), "metadata.jsonl", "cafe\u0301.mp4"),
        r"\.mp4: a square$",
    ),
    Case(
        "a name in other capitals",
        given(lines({"file_name": "A.MP4", "caption": "a square"}), "metadata.jsonl"),
        r"1 × metadata\.jsonl:1 names it and it is not in the folder; is it a\.mp4\?$",
    ),
    Case(
        "one caption that is not UTF-8",
        one_not_readable,
        r"^b\.mp4: a green circle; skipped a\.mp4: .*a\.txt:1: this is not UTF-8 text",
    ),
    Case(
        "Chinese, Arabic, emoji, HTML",
        given(lines({"file_name": "a.mp4", "caption": "红色 مربع 🟥 &amp; <b>"}), "captions.jsonl"),
        r"^a\.mp4: 红色 مربع 🟥 &amp; <b>$",
    ),
    Case(
        "half an emoji",
        given('{"file_name": "a.mp4", "caption": "\\ud83d"}', "captions.jsonl"),
        r"1 × captions\.jsonl:1: caption holds half a character",
    ),
    Case(
        "prompts with U+2028, U+0085 and form feeds",
        prompts("a square\u2028moves, then\x85stops\na\x0c circle\n"),
        r"^caption-000001: a square\\u2028moves, then\\x85stops; caption-000002: a\\x0c circle$",
    ),
    Case(
        "a terabyte of prompts", terabyte, r"prompts\.txt has 1,099,511,627,776 bytes, and at most 268,435,456 are read"
    ),
)


def outcome(case: Case, root: Path) -> str:
    """The captions that are encoded, and what is said of the others."""
    model, folder, output = write_toy_model(root / "model"), root / "given", root / "out"
    case.make(folder)
    alone = (folder / PROMPTS).exists()
    request = EncodeRequest(folder / PROMPTS if alone else folder, str(model), output, captions_only=alone)
    try:
        with patch("distill_core.cli.encoding.discover", lambda: PluginIndex.of(models=[TOY])):
            carry_out(request)
    except DistillError as error:
        return told(str(error), folder)
    dataset = open_dataset(output, latents=False)
    kept = [f"{row.id}: {_escaped(row.caption)}" for row in map(dataset.__getitem__, range(len(dataset)))]
    skipped = [
        f"skipped {fate.name}: {fate.reason}" for fate in read_report(output / "_report.jsonl") if not fate.encoded
    ]
    return told("; ".join(sorted(kept) + skipped), folder)


def _escaped(caption: str) -> str:
    """A caption whose characters can be seen."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in caption)


TOPIC = Topic("Captions", CASES, outcome)
