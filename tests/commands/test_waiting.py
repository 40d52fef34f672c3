"""The sign of life while a command works in silence, on a terminal of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.commands.terminals import shown

SCRIPT = """\
import time
from distill_core.cli.waiting import waiting

with waiting("reading [the] model") as say:
    print("a result", flush=True)
    time.sleep(0.2)
    say("loading")
    time.sleep(0.2)
"""


def test_a_terminal_shows_what_is_being_done_as_it_is_written() -> None:
    text = shown(SCRIPT)
    assert "reading [the] model" in text
    assert "loading" in text
    assert "a result" in text
    assert text.endswith("\x1b[2K"), "the last thing is that the line is wiped"


def test_what_is_printed_meanwhile_stays_in_the_file_that_stdout_is(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        text = shown(SCRIPT, file.fileno())
    assert (tmp_path / "out").read_text() == "a result\n"
    assert "a result" not in text


def test_a_terminal_that_can_only_print_shows_results_alone() -> None:
    assert shown(SCRIPT, TERM="dumb") == "a result\r\n"


def test_a_command_that_is_to_be_silent_shows_results_alone() -> None:
    assert shown(SCRIPT.replace('model")', 'model", silent=True)')) == "a result\r\n"


def test_without_a_terminal_nothing_is_shown() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("a result\n", "")
