"""A flipped bit is found, or without any effect: a few by every push, 800 over every kind of file by night."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.flip_subjects import subjects
from tests.faults.flips import Subject, Verdict, flips, storm, table, wrong
from tests.faults.wan_flip_subjects import wan_subjects

KINDS = ("metrics.jsonl", "quarantine.jsonl", "resolved.yaml", "export", "table.json", "data set, a new run")
"""By parts of their names, the kinds whose flips the fast tests make by whole commands."""


def test_a_few_flips_are_found_or_without_effect(tmp_path: Path) -> None:
    chosen = [subject for subject in subjects(tmp_path) if any(kind in subject.name for kind in KINDS)]
    found = storm(chosen, len(chosen), 0, tmp_path / "log")
    assert len(found) == len(KINDS)
    assert wrong(found) == []
    assert sum(flip.verdict is Verdict.FOUND for flip in found) > len(found) // 2


@pytest.mark.nightly
def test_800_flips_over_every_kind_of_file_are_found_or_without_effect(tmp_path: Path) -> None:
    found = storm([*subjects(tmp_path), *wan_subjects(tmp_path)], 800, 0, tmp_path / "log")
    print(table(found))
    assert wrong(found) == []


def subject(folder: Path, content: bytes) -> Subject:
    """A command that copies a file, as it is, but says of one with a letter z or a Z that it is damaged, and breaks at a letter y."""
    file, copy = folder / "file", folder / "copy"

    def command() -> None:
        content = file.read_bytes()
        copy.write_bytes(content[:-1])
        if b"z" in content.lower():
            sys.stderr.write("warning: it is damaged\n")
        assert b"y" not in content.lower()

    return Subject("a file", lambda: file.write_bytes(content) and None, lambda: [file], command, copy.read_bytes)


@pytest.mark.parametrize(
    ("content", "verdicts"),
    [
        (b"aaaaaaaa_", {Verdict.SILENT, Verdict.HARMLESS}),
        (b"[", {Verdict.HARMLESS, Verdict.FOUND, Verdict.TRACEBACK}),
    ],
)
def test_a_flip_is_told_to_be_silent_found_harmless_or_broken(
    tmp_path: Path, content: bytes, verdicts: set[Verdict]
) -> None:
    found = list(flips(subject(tmp_path, content), 16, 1, tmp_path / "log"))
    assert {flip.verdict for flip in found} == verdicts
    assert len(wrong(found)) == sum(flip.verdict in ("silent", "traceback") for flip in found)
    assert f"| all 16 | {sum(flip.verdict == 'found' for flip in found)} |" in table(found)
