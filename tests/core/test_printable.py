"""Text from elsewhere shows and does nothing more: on the terminal, in files, in pages, in trackers."""

from __future__ import annotations

import ast
import json
import unicodedata
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.core.conftest import ToyWorld

import distill_core
from distill_core import terminal
from distill_core.cli.failure import report
from distill_core.cli.table import print_table
from distill_core.cli.waiting import waiting
from distill_core.data.examining.preview import PreviewClip, page
from distill_core.errors import DataError
from distill_core.printable import visible, visible_in
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.tracking import Trackers
from distill_core.tracking.events import Events

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[/x][bold]\r"
"""A new title for the terminal, red by an 8-bit escape, text that runs backwards, markup that closes nothing, a line overwritten."""

SOURCES = Path(distill_core.__file__).parent


def acting(text: str) -> set[str]:
    """The characters of a text that do something."""
    return {char for char in text if unicodedata.category(char) == "Cc" and char not in "\n\t"} | set("\u202e") & set(
        text
    )


@given(st.text())
def test_a_visible_text_has_nothing_that_acts(text: str) -> None:
    assert not acting(visible(text))
    assert visible(visible(text)) == visible(text)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)))
def test_json_that_is_made_visible_says_the_same(data: object) -> None:
    assert json.loads(visible(json.dumps(data, ensure_ascii=False))) == data
    assert not acting(json.dumps(visible_in(data), ensure_ascii=False))


def calls_of(path: Path) -> set[str]:
    """The names of the functions and methods that a module calls."""
    called = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    plain = {function.id for function in called if isinstance(function, ast.Name)}
    return plain | {function.attr for function in called if isinstance(function, ast.Attribute)}


def test_one_module_writes_to_the_terminal() -> None:
    """`print` is also what a console's method is called: one line on it goes through :func:`terminal.line`."""
    writing = {"print", "echo", "secho", "Console", "from_markup"}
    writers = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.py") if calls_of(path) & writing}
    kit = {
        name for name in writers if name.startswith("testing/")
    }  # what plugin authors test with: a console that is quiet
    assert writers - kit == {"terminal.py", "cli/failure.py", "cli/table.py"}


def test_a_run_full_of_hostile_names_ends_as_any_other(world: ToyWorld) -> None:
    run = world.mapping(
        "dmd2",
        validation={"interval": 6, "prompts": [HOSTILE, "a [red]square[/red]"]},
        comparison={"rows": {HOSTILE: {"role": "student", "steps": 2}, "[/x]": {"role": "teacher", "steps": 2}}},
        metrics={"brightness": {}},
    )
    run["output_dir"] = str(world.root / "run[/x]")
    prepared = prepare(world.resolved(run))
    shown = StringIO()
    train(prepared, RunDirectory(Path(run["output_dir"])), [], Console(file=shown, force_terminal=True, width=300))
    assert "\x1b]0;owned" not in shown.getvalue()
    assert "\x9b" not in shown.getvalue()
    root = Path(run["output_dir"])
    for name in ("events.jsonl", "metrics.jsonl", "comparison/table.json", "comparison/index.html", "exit_reason.json"):
        assert not acting((root / name).read_text(encoding="utf-8")), name
    assert visible(HOSTILE)[:12] in (root / "comparison" / "index.html").read_text(encoding="utf-8")


def test_what_a_tracker_gets_has_nothing_that_acts(tmp_path: Path) -> None:
    got: list[str] = []

    class Keeping:
        def log(self, metrics: dict[str, float], step: int) -> None:
            got.extend(metrics)

        def video(self, name: str, path: Path, caption: str, step: int) -> None:
            got.extend((name, caption))

        def file(self, path: Path, name: str) -> None:
            got.append(path.read_text())

        def saved(self, step: int) -> None: ...

        def go_back(self, step: int) -> None: ...

        def finish(self) -> None: ...

    trackers = Trackers(Keeping(), [], Events(None))
    trackers.log({HOSTILE: 1.0}, 1)
    trackers.video(HOSTILE, tmp_path, HOSTILE, 1)
    (tmp_path / "page.html").write_text(HOSTILE)
    trackers.file(tmp_path / "page.html", "page.html")
    assert len(got) == 4
    assert not acting("".join(got))


def test_the_page_of_a_data_set_has_nothing_that_acts() -> None:
    assert not acting(page(HOSTILE, [PreviewClip(HOSTILE, HOSTILE, HOSTILE, "<img>")]))


@pytest.mark.parametrize("on_terminal", [True, False])
def test_errors_tables_and_remarks_have_nothing_that_acts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, on_terminal: bool
) -> None:
    monkeypatch.setenv("TERM", "dumb")  # no escapes of ours
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: on_terminal)
    report(DataError(HOSTILE), HOSTILE)
    print_table([HOSTILE], [[HOSTILE], ["[/x]"]])
    terminal.answer(HOSTILE)
    terminal.remark(HOSTILE)
    terminal.line(Console(stderr=True), HOSTILE)
    Events(None).warn("row", HOSTILE)
    with waiting(HOSTILE) as say:
        say(HOSTILE)
    captured = capsys.readouterr()
    assert captured.out.count("[/x]") == 4
    assert captured.err.count("owned") >= 4
    assert not acting(captured.out) | acting(captured.err)
