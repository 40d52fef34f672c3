"""distill_core.cli.encode_progress: what is said while clips are encoded."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from distill_core.cli.encode_progress import SECONDS_PER_LINE, encode_progress


def test_a_log_gets_a_line_now_and_then_whose_rate_leaves_out_the_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("distill_core.cli.encode_progress.time.monotonic", lambda: now)
    log = Console(file=StringIO(), width=200)
    with encode_progress(log, 100) as progress:
        for _ in range(10):  # kept from before
            progress([])
        now = SECONDS_PER_LINE - 1
        assert progress.shown("loading", lambda: 7) == 7
        for _ in range(20):
            now += 1
            progress([])
    assert isinstance(log.file, StringIO)
    assert log.file.getvalue().splitlines() == [
        "encoding 11/100  1.00/s  ETA 0:01:29",
        "encoding 21/100  1.00/s  ETA 0:01:19",
    ]


def test_a_terminal_shows_what_is_loaded_in_the_place_of_the_bars_name() -> None:
    terminal = Console(file=StringIO(), force_terminal=True, width=120)
    seen: list[str] = []
    with encode_progress(terminal, 2) as progress:
        assert isinstance(terminal.file, StringIO)
        screen = terminal.file
        progress.shown("loading the encoders", lambda: seen.append(screen.getvalue()))
        progress([])
    assert "loading the encoders" in seen[0]
    assert "encoding" in screen.getvalue().rpartition("loading")[2]
