"""One run from the command to its end: claim the directory, build, train, and write down how it ended."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from distill_core.build import Prepared, Runtime, build
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
    run, events, progress = prepared.run, Events(directory.events), Progress(console)
    with directory.locked():
        directory.open(run.loaded.text, run.to_mapping(), plugins)
        reason, details = "error", dict[str, Any]()
        try:
            with console.status("loading") if console.is_terminal else progress.aside("loading"):
                runtime = build(prepared, directory, events, progress)
            summary = _trained(runtime, directory, redact_text(run.loaded.text))
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
            directory.close(reason, **details)


def _trained(runtime: Runtime, directory: RunDirectory, redacted_yaml: str) -> TrainingSummary:
    """Train, with the trackers open; they get the run's YAML first."""
    try:
        copy = directory.trackers / "run.yaml"
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(redacted_yaml, encoding="utf-8")
        runtime.trackers.file(copy, "run.yaml")
        return runtime.trainer.run()
    finally:
        runtime.trackers.finish()
