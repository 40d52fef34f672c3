"""Weights & Biases without a network: offline runs in the run directory, which ``wandb sync`` makes one run with one curve.

W&B keeps the last figures of a process in memory, so a kill loses them, and it cannot take back a step that a resumed run makes again.
So what it is told waits in a file of ours, and becomes an offline run of W&B's when a checkpoint holds it: whole, and never twice.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import wandb

from distill_core.config.schema import Tracking
from distill_core.durable import appending, aside, sealed, unsealed, write_text
from distill_core.terminal import remark
from distill_core.tracking.wandb import identity_in, keep_file, media, started

_PART = "distill.json"
"""In each offline run that is made here: the number of the last thing told that is in it."""
_NAME_OF_START = "%Y%m%d_%H%M%S"


class OfflineWandbTracker:
    """Collects in ``waiting.jsonl``; :meth:`saved` makes an offline run of what no resume will make again.

    ``resumed_step``: what an earlier process told of later steps is dropped; a run that starts over is another one to W&B.
    """

    def __init__(
        self, settings: Tracking, folder: Path, run_name: str, config: Mapping[str, Any], resumed_step: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        self.folder = folder
        self.waiting = folder / "waiting.jsonl"
        self._settings = settings
        self._run_name = run_name
        self._config = config
        self._saved = resumed_step
        self._begin(resumed_step)

    def _begin(self, resumed_step: int) -> None:
        """Put in order what earlier processes left."""
        if not resumed_step:
            self.waiting.unlink(missing_ok=True)
            (self.folder / "id").unlink(missing_ok=True)
        parts = [_last(path) for path in (self.folder / "wandb").glob(f"offline-run-*/{_PART}")]
        self._told = max(parts, default=0)
        kept = [entry for entry in self._entries() if entry["number"] > self._told and entry["step"] <= resumed_step]
        self._keep(kept)
        self._told = max([self._told, *(entry["number"] for entry in kept)])

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Scalars of one step."""
        self._wait(step, {"figures": dict(metrics)})

    def video(self, name: str, path: Path, caption: str, step: int) -> None:
        """An mp4 file, playable in the browser, or a picture."""
        self._wait(step, {"video": name, "path": os.path.relpath(path, self.folder), "caption": caption})

    def file(self, path: Path, name: str) -> None:
        """A file to upload under Files."""
        self._wait(self._saved, {"file": name, "path": os.path.relpath(path, self.folder)})

    def saved(self, step: int) -> None:
        """Make an offline run of all that was told of earlier steps; more may be told of this one."""
        self._saved = step
        self._publish(step - 1)

    def go_back(self, step: int) -> None:
        """Drop what was told of later steps."""
        self._keep([entry for entry in self._entries() if entry["step"] <= step])

    def finish(self) -> None:
        """Make an offline run of all that a checkpoint holds; the rest is made again by who goes on from there."""
        self._publish(self._saved)

    def _wait(self, step: int, told: Mapping[str, Any]) -> None:
        self._told += 1
        with appending(self.waiting) as file:
            file.write(sealed({"number": self._told, "step": step, "time": time.time(), **told}, indent=None) + "\n")

    def _entries(self) -> list[dict[str, Any]]:
        """What waits; a last line that was cut short does not count. Lines that are damaged are left out, which is said, and kept aside."""
        lines = self.waiting.read_bytes().split(b"\n")[:-1] if self.waiting.exists() else []
        whole = [entry for line in lines if (entry := _entry(line)) is not None]
        if len(whole) < len(lines):
            lost = len(lines) - len(whole)
            remark(
                f"warning: {lost} lines of {self.waiting} are damaged, and W&B does not get them; the file is now {aside(self.waiting)}"
            )
            self._keep(whole)
        return whole

    def _keep(self, entries: Sequence[Mapping[str, Any]]) -> None:
        write_text(self.waiting, "".join(sealed(entry, indent=None) + "\n" for entry in entries))

    def _publish(self, last_step: int) -> None:
        """Make an offline run beside, and rename it into place: a kill leaves it whole or not at all."""
        entries = self._entries()
        ready = [entry for entry in entries if entry["step"] <= last_step]
        if not ready:
            return
        beside = self.folder / f".tmp-{uuid.uuid4().hex[:8]}"
        beside.mkdir()
        run = started(self._settings, beside, self._run_name, identity_in(self.folder), self._config)
        self._tell(run, ready)
        run.finish()
        (made,) = (beside / "wandb").glob("offline-run-*")
        write_text(made / _PART, sealed({"last": max(entry["number"] for entry in ready)}))
        (self.folder / "wandb").mkdir(exist_ok=True)
        os.rename(made, self._free_name(made.name))
        self._keep([entry for entry in entries if entry["step"] > last_step])
        shutil.rmtree(beside, ignore_errors=True)

    def _tell(self, run: wandb.sdk.wandb_run.Run, entries: Sequence[Mapping[str, Any]]) -> None:
        """Everything, each step once, in order."""
        steps: dict[int, dict[str, Any]] = {}
        for entry in sorted(entries, key=lambda entry: entry["step"]):
            path = self.folder / entry.get("path", "")
            if "file" in entry and path.is_file():
                keep_file(run, path, entry["file"])
            elif "figures" in entry:
                steps.setdefault(entry["step"], {"_timestamp": entry["time"]}).update(entry["figures"])
            elif "video" in entry and path.is_file():
                shown = media(path, entry["caption"])
                steps.setdefault(entry["step"], {"_timestamp": entry["time"]})[entry["video"]] = shown
        for step, told in steps.items():
            run.log(told, step=step, commit=True)

    def _free_name(self, name: str) -> Path:
        """Where an offline run goes: ``wandb sync`` takes them in the order of the seconds in their names, and no two are alike."""
        start, _, identity = name.removeprefix("offline-run-").rpartition("-")
        places = self.folder / "wandb"
        starts = [path.name.removeprefix("offline-run-").rpartition("-")[0] for path in places.glob("offline-run-*")]
        latest = max(starts, default="")
        if latest >= start:
            later = datetime.strptime(latest, _NAME_OF_START) + timedelta(seconds=1)
            start = later.strftime(_NAME_OF_START)
        return places / f"offline-run-{start}-{identity}"


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line as it was written; None for one that is not."""
    try:
        return unsealed(line, indent=None)
    except ValueError:
        return None


def _last(part: Path) -> int:
    """The number of the last entry of an offline run; 0 for a record that is damaged: what waits is what was not published."""
    try:
        last: int = unsealed(part.read_bytes())["last"]
    except ValueError:
        remark(f"warning: {part} is damaged, and is now {aside(part)}")
        return 0
    return last
