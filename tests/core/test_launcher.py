"""Several processes of one command, with a shell in its place."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from distill_core.ranks.launcher import launch
from distill_core.ranks.place import Place
from distill_core.stopping import Stopping


def shell(script: str, count: int = 2, grace: float = 5.0) -> int:
    with Stopping() as stopping:
        return launch([script], count, os.environ, stopping, command=("sh", "-c"), grace=grace)


def test_each_process_knows_its_place(capfd: pytest.CaptureFixture[str]) -> None:
    assert shell("env", count=3) == 0
    found = [dict(line.split("=", 1) for line in capfd.readouterr().out.splitlines() if "=" in line)]
    assert Place.of({**found[0], "RANK": "2"}) == Place(2, 3, int(found[0]["LOCAL_RANK"]))
    assert found[0]["MASTER_ADDR"] == "127.0.0.1"


def test_the_status_is_that_of_the_process_that_failed_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    assert shell("test $RANK = 0 && exit 79; sleep 0.3; exit 65") == 65
    assert shell("exit 79") == 79
    assert not capfd.readouterr().err, "they said it themselves"
    assert shell("test $RANK = 1 && kill -9 $$; exit 79") == 128 + signal.SIGKILL
    assert capfd.readouterr().err == "rank 1 was ended by SIGKILL, as of a machine that is short of memory\n"


def test_one_that_does_not_leave_when_another_has_failed_is_killed_after_the_grace(
    capfd: pytest.CaptureFixture[str],
) -> None:
    began = time.monotonic()
    assert shell("test $RANK = 1 && exit 70; exec sleep 60", grace=0.5) == 70
    assert time.monotonic() - began < 20
    assert capfd.readouterr().err == "rank 0 did not leave when another had, and is killed\n"


def test_one_that_the_others_have_left_behind_as_gone_gets_no_more_time_than_they_need(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_core.ranks.launcher.LEFT_BEHIND", 0.5)
    began = time.monotonic()
    assert shell("test $RANK = 1 && exec sleep 60; exit 79", grace=50.0) == 79
    assert time.monotonic() - began < 20
    assert capfd.readouterr().err == "rank 1 did not leave when another had, and is killed\n"


def test_a_signal_is_passed_on_and_waited_for_as_long_as_it_takes(capfd: pytest.CaptureFixture[str]) -> None:
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    script = "trap 'sleep 1; echo saved $RANK; exit 143' TERM; while true; do sleep 0.05; done"
    with Stopping() as stopping:
        status = launch([script], 2, os.environ, stopping, command=("sh", "-c"), grace=5.0)
        assert stopping.asked is signal.SIGTERM
    out = capfd.readouterr().out
    assert status == 143
    assert "saved 0" in out
    assert "saved 1" in out


def test_what_lies_in_the_working_directory_is_imported_by_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("json", "yaml", "typer", "torch", "sitecustomize", "distill_core"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    with Stopping() as stopping:
        assert launch(["--version"], 1, os.environ, stopping) == 0
    assert capfd.readouterr().out.startswith("distill")
    assert not (tmp_path / "ran").exists()
