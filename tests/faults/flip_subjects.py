"""The kinds of files that a run of the toy world reads: checkpoints, records, data, the models' folder."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from distill_core.cli import main
from distill_core.config.document import write_yaml
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.plugins import discovery, kept_index
from distill_core.testing.toy import encode_caption
from tests.core.conftest import CAPTIONS, INDEX, ToyWorld
from tests.core.kills import state_of
from tests.faults.flips import Subject, here

STEPS, MORE = 4, 6
"""Steps of the run whose files are flipped, and of the one that goes on from there."""


def subjects(root: Path) -> list[Subject]:
    """Each kind, of a run below ``root`` that has been trained for it."""
    world, other = FlippedWorld(root / "toy", "dmd2"), FlippedWorld(root / "latents", "finetune")
    of_other = other.found("data/*.parquet")

    def under_a_run(name: str, *patterns: str) -> Subject:
        """Files of the run directory, or beside it, that a run reads which goes on."""
        return Subject(
            f"{name}, a run that goes on", world.restore, world.found(*patterns), world.going_on, world.state
        )

    newest = f"run/checkpoints/step-{STEPS:08d}"
    anything, table = world.found(f"{newest}/**/*"), world.found("run/comparison/table.json")
    others = ("run/content.json", "run/plugins.json", "run/environment.json")
    return [
        under_a_run("checkpoint: tensors", f"{newest}/dcp/*.distcp"),
        under_a_run("checkpoint: torch's index", f"{newest}/dcp/.metadata"),
        under_a_run("checkpoint: manifest.json", f"{newest}/manifest.json"),
        under_a_run("checkpoint: state.json", f"{newest}/state.json"),
        Subject("checkpoint: all of it, export", world.restore, anything, world.exporting, world.exported),
        Subject("checkpoint: all of it, verify", world.restore, anything, world.verifying, lambda: None),
        under_a_run("metrics.jsonl and its hashes", "run/metrics.jsonl", "run/.metrics.jsonl.sha256"),
        under_a_run("quarantine.jsonl", "run/quarantine.jsonl"),
        under_a_run("events.jsonl", "run/events.jsonl"),
        under_a_run("resolved.yaml", "run/resolved.yaml"),
        under_a_run("content.json, plugins.json, environment.json", *others),
        Subject("comparison/table.json, a finished run", world.restore, table, world.training, world.state),
        Subject("data set, a run that goes on", other.restore, of_other, other.going_on, other.state),
        Subject("data set, a new run", other.forget, of_other, other.training, other.state),
    ]


class FlippedWorld:
    """A toy world with one bad row among its data, a finished run over it, and a copy of that run."""

    def __init__(self, root: Path, method: str) -> None:
        self.root, self.run, self.kept = root, root / "run", root / "kept"
        self.world = ToyWorld(root)
        self.out = root / "out"
        _with_a_bad_row(root / "data")
        self.path = root / "run.yaml"
        self.path.write_text(write_yaml(self._mapping(method)), encoding="utf-8")
        for work in (self.training, self.exporting):
            here(work)
        shutil.copytree(self.run, self.kept)

    def _mapping(self, method: str) -> dict[str, Any]:
        mapping: dict[str, Any] = self.world.mapping(
            method,
            training={"max_train_steps": STEPS},
            data={"on_bad_row": "skip"},
            method_config={"generator_update_interval": 2} if method == "dmd2" else {},
            checkpoint={"interval": 2},
            tracking={"log_interval": 1},
            metrics={"brightness": {}},
            comparison={"rows": {"student": {"role": "student", "steps": 2}}, "max_prompts": 1},
        )
        mapping["roles"]["student"]["ema"] = {"decay": 0.9}
        return mapping

    def found(self, *patterns: str) -> Callable[[], Sequence[Path]]:
        """The files of some patterns, when they are asked for."""
        return lambda: [file for pattern in patterns for file in self.root.glob(pattern) if file.is_file()]

    def restore(self) -> None:
        """The finished run, as it was."""
        self.forget()
        shutil.copytree(self.kept, self.run)

    def forget(self) -> None:
        """No run, and nothing exported."""
        for folder in (self.run, self.out):
            shutil.rmtree(folder, ignore_errors=True)

    def training(self) -> None:
        """The command that trained it."""
        distill("run", str(self.path))

    def going_on(self) -> None:
        """The same for more steps."""
        distill("run", str(self.path), f"training.max_train_steps={MORE}")

    def exporting(self) -> None:
        """Its student as a folder."""
        distill("export", str(self.run), "--output", str(self.out))

    def verifying(self) -> None:
        """Every byte of the newest checkpoint."""
        distill("verify", str(self.run / "checkpoints" / f"step-{STEPS:08d}"))

    def state(self) -> object:
        """The last checkpoint's state, the figures, the bad rows, the clips, the comparison's figures."""
        newest = max((self.run / "checkpoints").glob("step-*"))
        figures = [
            {name: value for name, value in json.loads(line).items() if "second" not in name}
            for line in (self.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        compared = json.loads((self.run / "comparison" / "table.json").read_text(encoding="utf-8"))
        clips = {str(clip.relative_to(self.run)): _hash(clip) for clip in self.run.rglob("*.mp4")}
        lines = [line["figures"] for line in compared["lines"]]
        return newest.name, state_of(newest), figures, (self.run / "quarantine.jsonl").read_text(), lines, clips

    def exported(self) -> object:
        """What was exported, to the bit."""
        weights = torch.load(self.out / "denoiser.pt", weights_only=True)
        return (self.out / "toy.json").read_text(), {name: each.numpy().tobytes() for name, each in weights.items()}


def distill(*arguments: str) -> None:
    """A command with the toy plugins."""
    with patch.object(discovery, "discover", lambda: INDEX), patch.object(kept_index, "installed", lambda: INDEX):
        main(list(arguments))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _with_a_bad_row(folder: Path) -> None:
    """The toy world's clips, and one of NaN."""
    shutil.rmtree(folder)
    generator = torch.Generator().manual_seed(5)
    with ParquetWriter(folder, T2V_SCHEMA) as writer:
        for index, caption in enumerate((*CAPTIONS, "nothing")):
            latent_CTHW = torch.randn(2, 3, 4, 4, generator=generator) * 2 + 0.5
            text = encode_caption(caption) * (math.nan if index == len(CAPTIONS) else 1.0)
            writer.add(ClipRecord(f"clip{index}", caption, text, latent_CTHW, f"{index}.mp4", 16, 16, 9, 16.0))
