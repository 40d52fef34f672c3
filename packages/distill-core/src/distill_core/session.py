"""One run from the command to its end: claim the directory, build, train, and write down how it ended."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from distill_core.build import Prepared, build
from distill_core.errors import DistillError
from distill_core.events import Events
from distill_core.progress import Progress
from distill_core.protocols.trainer import TrainingSummary
from distill_core.redaction import redact_text
from distill_core.run_directory import RunDirectory


def train(
    prepared: Prepared, directory: RunDirectory, plugins: list[dict[str, Any]], console: Console
) -> TrainingSummary:
    """Carry out a prepared run whose directory has been claimed (:meth:`RunDirectory.claim`).

    Raises DistillError for what the user can put right.
    """
    run = prepared.run
    events = Events(directory.events)
    progress = Progress(console)
    with console.status("loading") if console.is_terminal else progress.aside("loading"):
        directory.open(run.loaded.text, run.to_mapping(), plugins)
        runtime = build(prepared, directory, events, progress)
    directory.trackers.mkdir(exist_ok=True)
    redacted = directory.trackers / "run.yaml"
    redacted.write_text(redact_text(run.loaded.text), encoding="utf-8")
    runtime.trackers.file(redacted, "run.yaml")
    reason, details = "error", dict[str, Any]()
    try:
        summary = runtime.trainer.run()
        reason, details = "completed", {"step": summary.step}
        return summary
    except KeyboardInterrupt:
        reason = "interrupted"
        last = max(directory.checkpoints.glob("step-*"), default=None)
        kept = "nothing was saved yet" if last is None else f"the same command goes on from {last}"
        console.print(f"interrupted; {kept}", highlight=False, soft_wrap=True)
        raise
    except DistillError as error:
        details = {"message": str(error)}
        raise
    finally:
        runtime.trackers.finish()
        directory.close(reason, **details)
