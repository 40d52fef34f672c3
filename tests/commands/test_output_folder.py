"""Folders that cannot be made are refused before anything is computed, in one line with the path and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.commands.conftest import Command

from distill_core.errors import RunDirectoryError
from distill_core.running.output_folder import check_output_folder


def test_a_folder_that_can_be_made_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_output_folder(tmp_path / "a" / "b", must_be_new=True)
    check_output_folder(Path("relative"), must_be_new=True)
    check_output_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_what_must_be_new_has_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    check_output_folder(tmp_path)
    with pytest.raises(RunDirectoryError, match="is not empty; name another folder with --output, or remove it"):
        check_output_folder(tmp_path, must_be_new=True)


@pytest.mark.parametrize("below", [".", "below"])
def test_a_file_is_no_folder(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(RunDirectoryError, match=r"file.*; name a(nother)? folder with --output"):
        check_output_folder(file / below)


def test_a_file_system_that_takes_no_folder_is_named() -> None:
    with pytest.raises(RunDirectoryError, match=r"^/proc/nothing/below cannot be written: /proc: No such file"):
        check_output_folder(Path("/proc/nothing/below"))


@pytest.mark.parametrize("command", [("sample", "SOURCE", "--prompt", "red"), ("export", "SOURCE")])
@pytest.mark.parametrize("output", ["file", "file/below"])
def test_a_command_refuses_before_it_looks_at_its_source(
    distill: Command, tmp_path: Path, command: tuple[str, ...], output: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "SOURCE").mkdir()
    result = distill(
        *(tmp_path / word if word == "SOURCE" else word for word in command), "--output", tmp_path / output
    )
    assert (result.code, result.out) == (73, "")
    (line,) = result.err.splitlines()
    assert line.startswith(f"error: {tmp_path / output} ")
    assert line.endswith("folder with --output")
