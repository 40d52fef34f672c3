"""One run from the command to its end: claim the directory, build, train, and write down how it ended."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from distill_core.comparison import ComparisonTable
from distill_core.config.document import write_yaml
from distill_core.durable import write_text
from distill_core.errors import DistillError, StoppedError
from distill_core.memory_full import memory_told
from distill_core.plugins.border import describe
from distill_core.protocols.trainer import TrainingSummary
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.redaction import redact_mapping
from distill_core.running.build import Runtime, build
from distill_core.running.preparation import Prepared
from distill_core.running.resuming import refuse_named
from distill_core.running.run_directory import RunDirectory
from distill_core.stopping import Stopping, StopSignal
from distill_core.terminal import line, quiet, remark
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress

TOO_LARGE = "`distill plan RUN.yaml` says what the run needs, and the cheapest changes that make it fit"
"""The remedy where a run's memory ran out."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        training: how far it trained.
        comparison: the table, and the page that shows it; None if the run compares nothing.
    """

    training: TrainingSummary
    comparison: tuple[ComparisonTable, Path] | None


def train(
    prepared: Prepared,
    directory: RunDirectory,
    plugins: list[dict[str, Any]],
    console: Console,
    stopping: Stopping | None = None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Carry out a prepared run.

    ``stopping``: who hears the signals that ask the process to leave; None: this function itself, as long as it runs.
    ``ranks``: the run's processes; the first one writes, and the others compute and say nothing.

    Raises DistillError for what the user can put right, StoppedError where a signal ended the run, and StopSignal for Ctrl-C.
    """
    with (
        Stopping() if stopping is None else nullcontext(stopping) as owner,
        owner.held("leaving after this step"),
        ranks.guarded(),
        memory_told(TOO_LARGE),
    ):
        owner.grace = prepared.run.config.checkpoint.grace
        if not ranks.first:
            directory.refuse_other(ranks.from_first(str))
            return _helped(prepared, directory, plugins, owner, ranks)
        with directory.locked():
            return _locked(prepared, directory, plugins, console, owner, ranks)


def _helped(
    prepared: Prepared, directory: RunDirectory, plugins: list[dict[str, Any]], stopping: Stopping, ranks: Ranks
) -> Outcome:
    """The part of a process that is not the first: it computes, and writes no more than its share of a checkpoint."""
    events, progress = Events(None, shown=False), Progress(quiet())
    with stopping.at_once():
        runtime = build(prepared, directory, plugins, events, progress, stopping, ranks)
    try:
        summary = runtime.trainer.run()
        if runtime.comparer is not None:
            runtime.comparer.help(runtime.method.validation(summary.step))
        return Outcome(summary, None)
    finally:
        with stopping.held("closing the data first"):
            runtime.rows.close()


def _locked(
    prepared: Prepared,
    directory: RunDirectory,
    plugins: list[dict[str, Any]],
    console: Console,
    stopping: Stopping,
    ranks: Ranks,
) -> Outcome:
    """The same with the directory held. However it ends, exit_reason.json says so."""
    run, events, progress = prepared.run, Events(directory.events), Progress(console)
    directory.claim(prepared.asked())  # again: another process may have trained here since it was asked first
    if prepared.resume is not None:
        refuse_named(prepared.resume, directory, run.config.checkpoint)
    changes = directory.changes(prepared.asked())
    directory.open(run.loaded.text, run.to_mapping(), plugins, prepared.described())
    for change in changes:
        events.note("changed", change)
    for note in prepared.notes:
        events.note("note", note)
    reason, details = "error", dict[str, Any]()
    try:
        with ranks.guarded(), memory_told(TOO_LARGE):
            ranks.from_first(directory.mark)
            with stopping.at_once(), console.status("loading") if console.is_terminal else progress.aside("loading"):
                runtime = build(prepared, directory, plugins, events, progress, stopping, ranks)
            announce(runtime.start, run.config.training.max_train_steps, console)
            told = write_yaml(redact_mapping(run.to_mapping()))
            outcome = _trained(runtime, directory, told, run.method.name, stopping)
        reason = "completed"
        details = {"step": outcome.training.step, "seconds": round(outcome.training.seconds, 1)}
        return outcome
    except BaseException as error:
        number = stopping.behind(error)
        if number is None:
            details = {"message": str(error) if isinstance(error, DistillError) else describe(error)}
            raise
        stopped = error if isinstance(error, StoppedError) else StoppedError(_way_on(number, directory), number)
        reason = "interrupted" if number is signal.SIGINT else "stopped"
        details = {"signal": number.name, "message": str(stopped)}
        if number is not signal.SIGINT:
            raise stopped from error
        line(console, f"interrupted; {kept(directory)}")
        raise StopSignal(number) from error
    finally:
        directory.close(reason, **details)


def _way_on(number: signal.Signals, directory: RunDirectory) -> str:
    """What a person is told where a signal ended something that nothing of is kept."""
    return f"{number.name} came; {kept(directory)}"


def kept(directory: RunDirectory) -> str:
    """What there is to go on from."""
    last = max(directory.checkpoints.glob("step-*"), default=None)
    return "nothing was saved yet" if last is None else f"the same command goes on from {last}"


def announce(start: int, last: int, console: Console) -> None:
    """Say where a run goes on from."""
    if start >= last:
        told = f"step {start} of {last} is done already; raise training.max_train_steps to train on"
    else:
        told = f"going on from step {start} of {last}"
    if start:
        line(console, told)


def _trained(runtime: Runtime, directory: RunDirectory, redacted_yaml: str, method: str, stopping: Stopping) -> Outcome:
    """Train and compare, with the trackers open; they get the resolved run first, which has no comments."""
    try:
        copy = directory.trackers / "run.yaml"
        copy.parent.mkdir(exist_ok=True)
        write_text(copy, redacted_yaml)
        runtime.trackers.file(copy, "run.yaml")
        summary = runtime.trainer.run()
        return Outcome(summary, _compared(runtime, summary.step, f"{method}: {directory.root.name}"))
    finally:
        with stopping.held("closing the trackers first"):
            runtime.rows.close()
            if not stopping.left:
                remark("warning: checkpoint.grace is over: the trackers are not closed, and may lack the last figures")
            elif not stopping.insisted:
                runtime.trackers.finish()


def _compared(runtime: Runtime, step: int, title: str) -> tuple[ComparisonTable, Path] | None:
    """The comparison of the trained run; None if the run asks for none."""
    comparer = runtime.comparer
    if comparer is None:
        return None
    return comparer.run(step, runtime.method.validation(step), title), comparer.page
