"""One run from the command to its end: claim the directory, build, train, and write down how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from distill_core.comparison import ComparisonTable
from distill_core.errors import DistillError, StoppedError
from distill_core.plugins.border import describe
from distill_core.protocols.trainer import TrainingSummary
from distill_core.redaction import redact_text
from distill_core.running.build import Runtime, build
from distill_core.running.preparation import Prepared
from distill_core.running.run_directory import RunDirectory
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        training: how far it trained.
        comparison: the table, and the page that shows it; None if the run compares nothing.
    """

    training: TrainingSummary
    comparison: tuple[ComparisonTable, Path] | None


def train(prepared: Prepared, directory: RunDirectory, plugins: list[dict[str, Any]], console: Console) -> Outcome:
    """Carry out a prepared run. Raises DistillError for what the user can put right."""
    run, events, progress = prepared.run, Events(directory.events), Progress(console)
    with directory.locked():
        directory.claim(prepared.asked())  # again: another process may have trained here since it was asked first
        changes = directory.changes(prepared.asked())
        directory.open(run.loaded.text, run.to_mapping(), plugins, prepared.described())
        for change in changes:
            events.note("changed", change)
        for note in run.notes:
            events.note("note", note)
        reason, details = "error", dict[str, Any]()
        try:
            with console.status("loading") if console.is_terminal else progress.aside("loading"):
                runtime = build(prepared, directory, plugins, events, progress)
            announce(runtime.start, run.config.training.max_train_steps, console)
            outcome = _trained(runtime, directory, redact_text(run.loaded.text), run.method.name)
            reason = "completed"
            details = {"step": outcome.training.step, "seconds": round(outcome.training.seconds, 1)}
            return outcome
        except KeyboardInterrupt:
            reason = "interrupted"
            last = max(directory.checkpoints.glob("step-*"), default=None)
            kept = "nothing was saved yet" if last is None else f"the same command goes on from {last}"
            console.print(f"interrupted; {kept}", highlight=False, soft_wrap=True)
            raise
        except StoppedError as error:
            reason, details = "stopped", {"message": str(error)}
            raise
        except BaseException as error:
            details = {"message": str(error) if isinstance(error, DistillError) else describe(error)}
            raise
        finally:
            directory.close(reason, **details)


def announce(start: int, last: int, console: Console) -> None:
    """Say where a run goes on from."""
    if start >= last:
        line = f"step {start} of {last} is done already; raise training.max_train_steps to train on"
    else:
        line = f"going on from step {start} of {last}"
    if start:
        console.print(line, highlight=False, soft_wrap=True)


def _trained(runtime: Runtime, directory: RunDirectory, redacted_yaml: str, method: str) -> Outcome:
    """Train and compare, with the trackers open; they get the run's YAML first."""
    try:
        copy = directory.trackers / "run.yaml"
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(redacted_yaml, encoding="utf-8")
        runtime.trackers.file(copy, "run.yaml")
        summary = runtime.trainer.run()
        return Outcome(summary, _compared(runtime, summary.step, f"{method}: {directory.root.name}"))
    finally:
        runtime.rows.close()
        runtime.trackers.finish()


def _compared(runtime: Runtime, step: int, title: str) -> tuple[ComparisonTable, Path] | None:
    """The comparison of the trained run; None if the run asks for none."""
    comparer = runtime.comparer
    if comparer is None:
        return None
    return comparer.run(step, runtime.method.validation(step), title), comparer.page
