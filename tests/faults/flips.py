"""One bit flipped at a random place of every kind of file that is read, and then the command that reads it: found, or without any effect.

``uv run python -m tests.faults.flips 800`` prints, by kind of file, what became of so many flips.
"""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.core.forked import Ended, forked

BUSIEST, LONGEST = 60, 600
"""Seconds, of the processor's and of the clock's, that a command may take that has a flipped bit to read; one that takes longer is ended,
and counts as a traceback."""
MEMORY = 16 << 30
"""Bytes of addresses that it may take: a flipped length must not take the machine's memory."""


class Verdict(StrEnum):
    """What became of a flip."""

    FOUND = "found"
    HARMLESS = "harmless"
    SILENT = "silent"
    TRACEBACK = "traceback"


@dataclass(frozen=True)
class Subject:
    """A kind of file, and the command that reads it.

    Attributes:
        name: what is flipped, and before what.
        prepare: puts everything where the command finds it, as it was.
        files: the files of the kind, once they have been put there.
        command: what a child does.
        result: what the command leaves, to the bit, but for clocks.
    """

    name: str
    prepare: Callable[[], None]
    files: Callable[[], Sequence[Path]]
    command: Callable[[], None]
    result: Callable[[], object]


@dataclass(frozen=True)
class Flip:
    """A flip, and what became of it.

    Attributes:
        subject: the kind of file.
        place: the file and the bit.
        verdict: what became of it.
        said: what the command said, where something is wrong.
    """

    subject: str
    place: str
    verdict: Verdict
    said: str


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """The file with one bit changed; as it was, afterwards."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    try:
        yield
    finally:
        path.write_bytes(content)


def flips(subject: Subject, count: int, seed: int, log: Path) -> Iterator[Flip]:
    """So many flips at places that follow from the seed; the files of a kind are taken in turn, whatever their sizes."""
    subject.prepare()
    unharmed = forked(bounded(subject.command), log)
    assert unharmed.status == 0, f"{subject.name}: {unharmed.err}"
    right = subject.result()
    chance = random.Random(f"{subject.name} {seed}")
    for number in range(count):
        subject.prepare()
        files = sorted(file for file in subject.files() if file.stat().st_size)
        path = files[number % len(files)]
        bit = chance.randrange(8 * path.stat().st_size)
        with flipped(path, bit):
            ended = forked(bounded(subject.command), log)
            verdict = judged(ended, warnings(unharmed.err), lambda: subject.result() == right)
        said = ended.err[-1500:] if verdict in (Verdict.SILENT, Verdict.TRACEBACK) else ""
        yield Flip(subject.name, f"bit {bit} of {path.name}", verdict, said)


def judged(ended: Ended, usual: set[str], unchanged: Callable[[], bool]) -> Verdict:
    """What became of a flip. ``usual``: what the command warns of without one; ``unchanged``: whether its result is the right one."""
    if "Traceback" in ended.err or ended.status < 0:
        return Verdict.TRACEBACK
    if ended.status or warnings(ended.err) - usual:
        return Verdict.FOUND
    return Verdict.HARMLESS if unchanged() else Verdict.SILENT


def warnings(err: str) -> set[str]:
    """What a command warned of."""
    return {line for line in err.splitlines() if line.startswith("warning: ")}


def here(command: Callable[[], None]) -> None:
    """A command in this process, which imports for all children what it needs; what it says is dropped. It has to come to a good end."""
    said, status = io.StringIO(), None
    try:
        with redirect_stdout(said), redirect_stderr(said):
            command()
    except SystemExit as stop:
        status = stop.code
    assert not status, said.getvalue()


def bounded(command: Callable[[], None]) -> Callable[[], None]:
    """The command, in a child that neither hangs nor takes the machine's memory."""

    def work() -> None:
        signal.alarm(LONGEST)
        resource.setrlimit(resource.RLIMIT_CPU, (BUSIEST, BUSIEST))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        command()

    return work


def table(found: Sequence[Flip]) -> str:
    """The verdicts by kind of file, as a table of Markdown."""
    lines = [f"| flipped, and read by | {' | '.join(Verdict)} |", f"|---|{'---|' * len(Verdict)}"]
    for name in dict.fromkeys(flip.subject for flip in found):
        counts = Counter(flip.verdict for flip in found if flip.subject == name)
        lines.append(f"| {name} | {' | '.join(str(counts[verdict]) for verdict in Verdict)} |")
    counts = Counter(flip.verdict for flip in found)
    return "\n".join([*lines, f"| all {len(found)} | {' | '.join(str(counts[verdict]) for verdict in Verdict)} |"])


def unheard(_: str) -> None:
    """Where nobody listens."""


def storm(
    subjects: Sequence[Subject], count: int, seed: int, log: Path, say: Callable[[str], None] = unheard
) -> list[Flip]:
    """``count`` flips, shared among the kinds; ``say`` hears how far it is."""
    each, more = divmod(count, len(subjects))
    found: list[Flip] = []
    for place, subject in enumerate(subjects):
        found += flips(subject, each + (place < more), seed, log)
        say(f"{len(found)} of {count}: {subject.name}")
    return found


def wrong(found: Sequence[Flip]) -> list[Flip]:
    """Those that changed something unseen, or ended in a traceback."""
    return [flip for flip in found if flip.verdict in (Verdict.SILENT, Verdict.TRACEBACK)]


def main(count: int, only: str = "") -> None:
    """Print the table, and each flip that is neither found nor harmless. ``only``: kinds whose name has this in it."""
    from tests.faults.flip_subjects import subjects
    from tests.faults.wan_flip_subjects import wan_subjects

    with TemporaryDirectory() as folder:
        began, root = time.monotonic(), Path(folder)
        chosen = [subject for subject in (*subjects(root), *wan_subjects(root)) if only in subject.name]
        found = storm(chosen, count, 0, root / "log", lambda told: print(told, file=sys.stderr, flush=True))
    print(table(found))
    print(f"\n{len(found)} flips, {len(wrong(found))} silent or with a traceback, {time.monotonic() - began:.0f} s")
    for flip in wrong(found):
        print(f"\n{flip.verdict}: {flip.subject}, {flip.place}\n{flip.said}")
    sys.exit(bool(wrong(found)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    main(int(sys.argv[1]), *sys.argv[2:])
