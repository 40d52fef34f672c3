"""The run directory: what lies where, and who may go on with it. It writes no weights and loads no plugin."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distill_core.config.document import read_document, write_yaml
from distill_core.config.schema import NULL_IS_SAID
from distill_core.durable import write_json, write_text
from distill_core.errors import CheckpointError, RunDirectoryError
from distill_core.redaction import redact_mapping

MAY_CHANGE = (
    "output_dir",
    "tracking",
    "validation",
    "comparison",
    "metrics",
    "checkpoint",
    "training.max_train_steps",
    "data.num_workers",
    "data.on_bad_row",
)
"""Keys that a resumed run may give other values: they do not change what the steps so far would have been."""


LEFT_TO_THE_MACHINE = ("training.device", "training.precision")
"""Keys whose ``auto`` fits whatever an earlier process chose: a run may go on on another machine."""


class RunDirectory:
    """Names the files of a run.

    Attributes:
        root: the directory itself, ``output_dir``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run_yaml = root / "run.yaml"
        self.resolved_yaml = root / "resolved.yaml"
        self.metrics = root / "metrics.jsonl"
        self.events = root / "events.jsonl"
        self.quarantine = root / "quarantine.jsonl"
        self.samples = root / "samples"
        self.comparison = root / "comparison"
        self.checkpoints = root / "checkpoints"
        self.trackers = root / "trackers"
        self.exit_reason = root / "exit_reason.json"

    def claim(self, resolved: Mapping[str, Any]) -> None:
        """Make sure that a run with this resolved configuration may write here; nothing is written.

        Raises RunDirectoryError for a path that holds something else, or a run of which this one is no continuation.
        """
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise RunDirectoryError(f"output_dir {self.root} is a file; choose another output_dir")
        if all(path.name.startswith(".") for path in self.root.iterdir()):
            return  # at most a lock, and a file of ours that was being written when the process died
        if not self.resolved_yaml.exists():
            raise RunDirectoryError(f"output_dir {self.root} is not empty and holds no run; choose another output_dir")
        if not self.metrics.exists() and not self.checkpoints.exists():
            return  # an attempt that ended before its first figures: there is nothing to lose
        if resolved["checkpoint"]["resume"] == "never" and any(self.checkpoints.glob("step-*")):
            raise CheckpointError(
                f"{self.checkpoints} has checkpoints and checkpoint.resume is never; choose another output_dir"
            )
        changes = self.changes(resolved)
        if changes and resolved["checkpoint"]["resume"] != "changed":
            raise RunDirectoryError(
                f"output_dir {self.root} holds another run ({'; '.join(changes)}); choose another output_dir, make the two agree, "
                "or go on with the new settings by checkpoint.resume=changed"
            )

    def changes(self, resolved: Mapping[str, Any]) -> list[str]:
        """What this configuration has other than the run in the directory and a continuation may not have, one line per key."""
        if not self.resolved_yaml.exists():
            return []
        before = flatten(read_document(self.resolved_yaml.read_text(encoding="utf-8"), str(self.resolved_yaml)).data)
        now = flatten(redact_mapping(resolved))
        shapes = {value for key, value in now.items() if key.endswith(".lr_scheduler") and value is not None}
        fixed_length = not shapes <= {"constant", "constant_with_warmup"}  # any other shape spans the whole run
        return [
            f"{key}: {_shown(before, key)} there, {_shown(now, key)} here"
            for key in sorted(before.keys() | now.keys())
            if _shown(before, key) != _shown(now, key)
            and not (key in LEFT_TO_THE_MACHINE and now.get(key) == "auto")
            and (not _may_change(key) or (fixed_length and key == "training.max_train_steps"))
        ]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory, and hold it for this process. Raises RunDirectoryError if that cannot be, or another process holds it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(
                f"output_dir {self.root} cannot be made: {error.strerror}; choose another output_dir"
            ) from error
        with (self.root / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunDirectoryError(
                    f"another process trains in {self.root}; wait for it, or choose another output_dir"
                ) from error
            yield

    def open(
        self, yaml_text: str, resolved: Mapping[str, Any], plugins: list[dict[str, Any]], place: Mapping[str, object]
    ) -> None:
        """Write down what the run is made of, and where it computes. The directory is :meth:`locked`."""
        self.exit_reason.unlink(missing_ok=True)  # it would speak of an earlier process
        # The first file: by it the directory is known as a run's, whatever becomes of the others.
        write_text(self.resolved_yaml, write_yaml(redact_mapping(resolved)))
        write_text(self.run_yaml, yaml_text, 0o600)
        write_json(self.root / "plugins.json", plugins)
        write_json(self.root / "environment.json", {**environment(), **place})

    def close(self, reason: str, **details: Any) -> None:
        """Write down how this process's part of the run ended."""
        ended = {"reason": reason, "time": datetime.now(UTC).isoformat(), **details}
        write_json(self.exit_reason, redact_mapping(ended))


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as dotted keys; sequences become JSON, so that a list and a tuple compare equal."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = json.loads(json.dumps(value))
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    """A value as a line of :meth:`RunDirectory.changes` shows it; where a null is a setting, a key that is not there is something else."""
    if key not in flat and key.rpartition(".")[2] in NULL_IS_SAID:
        return "not set"
    return repr(flat.get(key))


def _may_change(key: str) -> bool:
    return any(key == allowed or key.startswith(allowed + ".") for allowed in MAY_CHANGE)


def environment() -> dict[str, Any]:
    """Versions and machine, for whoever must make the run again."""
    packages = ("torch", "numpy", "pyarrow", "pydantic", "pluggy", "distill-core")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "packages": {name: version(name) for name in packages},
    }
