"""How much memory a clip may take: a part of what is free. Knows no clip."""

from __future__ import annotations

import os
from pathlib import Path

SHARE = 12
"""A clip is held as bytes up to four times (decoded, joined, two ahead) and twice as float32, which makes about twelve."""

_MEMINFO = Path("/proc/meminfo")
_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"), "inactive_file"),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        "total_inactive_file",
    ),
)
"""Where Linux says what a container may take and has taken, by its two kinds of control groups."""


def room_for_a_clip() -> int:
    """Bytes that the frames of one clip may take, 3 a pixel."""
    return free_memory() // SHARE


def free_memory() -> int:
    """Bytes that this process may still take: what the machine has, or what its container has left."""
    return min([_free_of_machine(), *_free_of_containers()])


def _free_of_machine() -> int:
    """What is free, or could be at once."""
    if _MEMINFO.exists():
        return _field(_MEMINFO, "MemAvailable:") * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _free_of_containers() -> list[int]:
    """What control groups leave, where they limit it; what they keep of files they give back."""
    left = []
    for limit, used, kept in _LIMITS:
        if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdigit():
            left.append(int(text) - int(used.read_text()) + _field(limit.with_name("memory.stat"), kept))
    return left


def _field(path: Path, name: str) -> int:
    """A number that a file gives by name; 0 where it does not."""
    for line in path.read_text().splitlines() if path.exists() else ():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value.split()[0])
    return 0
