"""The command that prints the fault matrix: its families' tests are there, and a failure shows."""

from __future__ import annotations

import pytest

from tests.faults.matrix import FAMILIES, REPOSITORY, main, row


def test_every_family_is_of_tests_that_there_are_and_none_is_in_two() -> None:
    files = [file for tests in FAMILIES.values() for file in tests]
    assert [file for file in files if not (REPOSITORY / file).is_file()] == []
    assert len(files) == len(set(files))


@pytest.mark.parametrize(
    ("last", "line", "good"),
    [
        ("14 passed in 2.31s", "| x | 14 | 14 | 0 | 2 |", True),
        ("1 failed, 13 passed, 2 deselected in 2.31s", "| x | 14 | 13 | 1 | 2 |", False),
        ("2 errors in 0.10s", "| x | 2 | 0 | 2 | 2 |", False),
        ("no tests ran in 0.01s", "| x | 0 | 0 | 0 | 2 |", False),
    ],
)
def test_a_row_says_what_pytest_said(last: str, line: str, good: bool) -> None:
    assert row("x", f"....\n{last}\n", 2.3) == (line, good)


@pytest.mark.nightly
def test_the_command_prints_a_row_of_a_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("short of time") == 0
    head, _, line = capsys.readouterr().out.splitlines()
    assert head.startswith("| faults | cases |")
    assert line.startswith("| short of time: grace, Slurm | 12 | 12 | 0 | ")
