"""A canary in every kind of input: what would leave a mark if it were run. None ever is.

``uv run python -m tests.faults.canaries`` prints, by kind of input, how many were planted, how many ran, and how many ended in a traceback.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.core.forked import forked


@dataclass(frozen=True)
class Canary:
    """Something that runs if it is read wrongly, and a command that reads it.

    Attributes:
        kind: the kind of input.
        name: what of it.
        plant: puts it in place, told the command of a shell, and the same as Python, that leaves the mark.
        command: what reads it, in a child.
        planted: how many there are in it.
    """

    kind: str
    name: str
    plant: Callable[[str, str], None]
    command: Callable[[], None]
    planted: int = 1


@dataclass(frozen=True)
class Sung:
    """What became of a canary.

    Attributes:
        canary: the canary.
        ran: whether it did.
        status: the command's exit status.
        err: what the command said.
    """

    canary: Canary
    ran: bool
    status: int
    err: str

    @property
    def broke(self) -> bool:
        """Whether the command ended in a traceback."""
        return "Traceback" in self.err or self.status < 0


def sing(canaries: Sequence[Canary], root: Path) -> list[Sung]:
    """Plant each, run its command in a child whose working directory is ``root``, and see whether it left its mark."""
    mark = root / "ran"
    found = []
    for canary in canaries:
        canary.plant(f"touch {mark}", f"open({str(mark)!r}, 'w').close()")
        ended = forked(_from(root, canary.command), root / "log")
        found.append(Sung(canary, mark.exists(), ended.status, ended.err))
        if mark.exists():
            mark.rmdir() if mark.is_dir() else mark.unlink()
    return found


def _from(root: Path, command: Callable[[], None]) -> Callable[[], None]:
    def work() -> None:
        os.chdir(root)
        command()

    return work


def table(found: Sequence[Sung]) -> str:
    """Markdown."""
    kinds = dict.fromkeys(sung.canary.kind for sung in found)
    rows = [_row(kind, [sung for sung in found if sung.canary.kind == kind]) for kind in kinds]
    return "\n".join(["| input | planted | ran | tracebacks |", "|---|---|---|---|", *rows, _row("all", found)])


def _row(kind: str, found: Sequence[Sung]) -> str:
    planted = sum(sung.canary.planted for sung in found)
    return f"| {kind} | {planted} | {sum(sung.ran for sung in found)} | {sum(sung.broke for sung in found)} |"


def wrong(found: Sequence[Sung]) -> list[Sung]:
    """Those that ran, or whose command broke."""
    return [sung for sung in found if sung.ran or sung.broke]


def fresh(source: Path, target: Path) -> Path:
    """A copy of a folder, in the place of an earlier one."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))


def main() -> None:
    """Print the table, and what went wrong."""
    from tests.faults.canary_inputs import canaries
    from tests.faults.canary_models import model_canaries

    with TemporaryDirectory() as folder:
        root = Path(folder)
        found = sing([*canaries(root), *model_canaries(root)], root)
    print(table(found))
    for sung in wrong(found):
        print(
            f"\n{sung.canary.kind}, {sung.canary.name}: {'it ran' if sung.ran else 'a traceback'}\n{sung.err[-1500:]}"
        )
    sys.exit(bool(wrong(found)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
