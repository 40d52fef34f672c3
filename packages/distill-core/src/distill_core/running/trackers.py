"""The trackers that a run.yaml asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill_core.config.schema import Tracking
from distill_core.printable import visible, visible_in
from distill_core.protocols.tracker import Tracker
from distill_core.redaction import redact_mapping, redact_text
from distill_core.running.run_directory import RunDirectory
from distill_core.tracking.events import Events
from distill_core.tracking.fanout import Trackers
from distill_core.tracking.jsonl import JsonlTracker
from distill_core.tracking.silence import Silence


def open_trackers(
    settings: Tracking, directory: RunDirectory, config: Mapping[str, Any], resumed_step: int, events: Events
) -> Trackers:
    """Open every tracker. ``config`` is the resolved run with secrets redacted. Raises ConfigError if one cannot start.

    A run that goes on from ``resumed_step`` makes the figures after it again; one that starts makes those of step 0 too.
    """
    told = _without_secrets(settings, events)
    first_step = resumed_step + 1 if resumed_step else 0
    places, run_name = directory.trackers / "wandb", visible(redact_text(directory.root.name))
    others: list[Tracker] = []
    for name in settings.trackers:
        match name:
            case "wandb" if settings.wandb_mode == "offline":
                from distill_core.tracking.wandb_offline import OfflineWandbTracker

                others.append(OfflineWandbTracker(told, places, run_name, visible_in(config), resumed_step))
            case "wandb" if settings.wandb_mode == "online":
                from distill_core.tracking.wandb import WandbTracker

                others.append(WandbTracker(told, places, run_name, visible_in(config)))
            case "tensorboard":
                from distill_core.tracking.tensorboard import TensorBoardTracker

                others.append(TensorBoardTracker(directory.trackers / "tensorboard", first_step))
    return Trackers(JsonlTracker(directory.metrics, first_step, events), others, events)


def silent(events: Events) -> Trackers:
    """What a process has that is not the first of its run: only that one tells."""
    return Trackers(Silence(), [], events)


def _without_secrets(settings: Tracking, events: Events) -> Tracking:
    """The settings that a service is told, without what looks like a secret; a person is told that it was left out."""
    names = {
        name: value for name in ("project", "entity", "run_name") if (value := settings.model_dump()[name]) is not None
    }
    told = redact_mapping(names)
    for name, value in names.items():
        if told[name] != value:
            events.warn("redacted", f"tracking.{name} holds what looks like a secret; trackers get {told[name]!r}")
    return settings.model_copy(update=visible_in(told))
