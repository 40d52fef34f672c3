"""distill_core.data.encoding.room: what is free, as the machine and its container say."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_core.data.encoding import room
from distill_core.data.encoding.room import SHARE, free_memory, room_for_a_clip


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 3 MiB free in a container without a limit."""
    (tmp_path / "meminfo").write_text("MemTotal:  8192 kB\nMemAvailable:    3072 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{2 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {1 << 20}\n")
    monkeypatch.setattr(room, "_MEMINFO", tmp_path / "meminfo")
    limit = (tmp_path / "memory.max", tmp_path / "memory.current", "inactive_file")
    monkeypatch.setattr(room, "_LIMITS", (limit, (tmp_path / "none", tmp_path / "none", "")))
    return tmp_path


def test_what_the_machine_has_free_counts_where_no_container_limits_it(machine: Path) -> None:
    assert free_memory() == 3 << 20
    assert room_for_a_clip() == (3 << 20) // SHARE


def test_what_a_container_leaves_counts_where_that_is_less(machine: Path) -> None:
    (machine / "memory.max").write_text(f"{3 << 20}\n")
    assert free_memory() == 2 << 20


def test_a_machine_that_does_not_say_what_is_free_has_all_that_it_has(machine: Path) -> None:
    (machine / "meminfo").unlink()
    assert free_memory() > 64 << 20
