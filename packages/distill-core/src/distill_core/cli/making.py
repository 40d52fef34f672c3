"""The work of ``distill data trajectories``: settle what is to be made and refuse what cannot be, then load the models and make it.

Knows the terminal and the plugins; what making is lies in :mod:`distill_core.running.making`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from distill_core import terminal
from distill_core.cli.encode_progress import encode_progress
from distill_core.cli.waiting import waiting
from distill_core.config.overrides import undone
from distill_core.config.resolve import examine
from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.report import Fate
from distill_core.data.encoding.shard import Shard
from distill_core.errors import StoppedError
from distill_core.plugins.discovery import discover
from distill_core.ranks.place import Place
from distill_core.running.columns import Making, output_of, refuse_other_settings, settle
from distill_core.running.making import make_columns
from distill_core.running.preparation import Placement, place
from distill_core.stopping import Stopping
from distill_core.terminal import line, notes

KEPT = "what is made is kept, and the same command goes on with it"


@dataclass(frozen=True)
class MakingRequest:
    """What the command line asked for; the fields are its arguments."""

    run: Path
    overrides: Sequence[str]
    source: str
    dtype: str = "float32"
    per_row: int = 1
    shard: str | None = None
    overwrite: bool = False


def carry_out(request: MakingRequest) -> None:
    """Make the columns, and print what became of the rows. What can be refused is refused before a model is loaded."""
    shard = Shard.of_process(os.environ) if request.shard is None else Shard.parse(request.shard)
    with waiting(f"checking {request.run}") as say:
        run = examine(request.run, request.overrides, discover()).resolved()
        notes(undone(request.overrides))
        training = run.config.training
        placement = place(training.device, training.precision, Place.of(os.environ).local_rank)
        if training.cpu_threads is not None:
            torch.set_num_threads(training.cpu_threads)
        folder = EncodingFolder(output_of(run), shard, "data.path")
        say(f"looking at {request.source}, hashing the models")
        making = settle(run, request.source, request.dtype, request.per_row, placement)
        folder.check(making.origin, making.names(), overwrite=request.overwrite)
        if not request.overwrite:
            refuse_other_settings(folder, making.origin)
    fates, whole = _made(making, folder, placement, begin_anew=request.overwrite)
    for each in summary_lines(fates, folder, whole):
        line(terminal.console(), each)


def _made(
    making: Making, folder: EncodingFolder, placement: Placement, *, begin_anew: bool
) -> tuple[tuple[Fate, ...], bool]:
    """What became of the rows, and whether the data set is whole."""
    console = terminal.console()
    with Stopping() as stopping, stopping.held("finishing this batch"), folder.claimed():
        if begin_anew and folder.shard.count == 1:
            for path in folder.work.glob("*.parquet"):
                path.unlink()
        try:
            with encode_progress(console, len(folder.shard.part(making.items)), "making") as progress:

                def listen(fates: Sequence[Fate]) -> None:
                    """Show each row that is done, and leave after it where that is asked for."""
                    progress(fates)
                    stopping.check()

                fates = make_columns(making, folder, placement, listen, lambda remark: line(console, remark))
        except KeyboardInterrupt as error:
            number = stopping.behind(error)
            if number in (None, signal.SIGINT):
                line(console, f"stopped; {KEPT}")
                raise
            assert number is not None
            raise StoppedError(f"{number.name} came; {KEPT}", number) from None
        return fates, folder.finish(fates)


def summary_lines(fates: Sequence[Fate], folder: EncodingFolder, whole: bool) -> list[str]:
    """What became of the rows, for a person."""
    skipped = [fate for fate in fates if not fate.encoded]
    kept = sum(fate.kept for fate in fates)
    before = f" ({kept} of them before)" if kept else ""
    share = "" if folder.shard.count == 1 else f", shard {folder.shard.number} of {folder.shard.count}"
    lines = [f"made {len(fates) - len(skipped)} of {len(fates)} rows{before} into {folder.output}{share}"]
    lines += [f"skipped {fate.name}: {fate.reason}" for fate in skipped[:20]]
    if not whole:
        lines.append(f"{folder.output} appears when the other shards are done")
    return lines
