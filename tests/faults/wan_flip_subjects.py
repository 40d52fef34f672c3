"""The kinds of files that a run of a real family reads: frozen weights, their index, configs, encoders, kept captions, an export."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel

from distill_core.cli import main
from distill_core.config.document import write_yaml
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_model_wan.testing import make_tiny_pipeline
from tests.core.kills import state_of
from tests.faults.flips import Subject, here

STEPS, MORE = 1, 2
PROMPT = "a red square"
SIZE = ("--num-frames", "5", "--height", "16", "--width", "16")


def wan_subjects(root: Path) -> list[Subject]:
    """Each kind, of a run of Wan below ``root`` that has been trained for it."""
    world = WanWorld(root / "wan")

    def under_a_run(name: str, *patterns: str) -> Subject:
        """Files that a run reads which goes on."""
        return Subject(
            f"{name}, a run that goes on", world.restore, world.found(*patterns), world.going_on, world.state
        )

    def of_the_export(name: str, *patterns: str) -> Subject:
        """Files of the export, which is sampled."""
        return Subject(f"{name}, sample", world.restore, world.found(*patterns), world.sampling, world.sampled)

    return [
        under_a_run("frozen role: weights", "teacher/transformer/*.safetensors"),
        under_a_run("frozen role: index of its weights", "teacher/transformer/*.index.json"),
        under_a_run("frozen role: configs", "teacher/*.json", "teacher/*/*config.json"),
        under_a_run("text encoder, tokenizer, VAE", "student/text_encoder/*", "student/tokenizer/*", "student/vae/*"),
        under_a_run("kept captions", "run/captions/*"),
        of_the_export("export: weights", "export/*/*.safetensors"),
        of_the_export("export: configs, tokenizer, distill.json", "export/*.json", "export/*/*.json"),
    ]


class WanWorld:
    """Tiny pipelines, a finished run over them, a copy of it, and its student as an export."""

    def __init__(self, root: Path) -> None:
        self.root, self.run, self.kept = root, root / "run", root / "kept"
        self.export, self.out = root / "export", root / "out"
        for seed, name in enumerate(("student", "teacher")):
            make_tiny_pipeline(root / name, seed=seed)
        _split(root / "teacher" / "transformer")
        _write_clips(root / "data")
        self.path = root / "run.yaml"
        self.path.write_text(write_yaml(self._mapping()), encoding="utf-8")
        for work in (lambda: main(["run", str(self.path)]), self.exporting, self.sampling):
            here(work)
        shutil.copytree(self.run, self.kept)

    def _mapping(self) -> dict[str, Any]:
        folders = {"student": "student", "teacher": "teacher", "critic": "student"}
        return {
            "recipe": {"family": "wan", "method": "dmd2"},
            "roles": {
                role: {"path": str(self.root / folder), "trainable": role != "teacher"}
                for role, folder in folders.items()
            },
            "data": {"path": str(self.root / "data")},
            "training": {"max_train_steps": STEPS, "train_batch_size": 2, "device": "cpu", "precision": "fp32"},
            "method_config": {"generator_update_interval": 1, "real_score_guidance_scale": 3.0},
            "validation": {"interval": 1, "prompts": [PROMPT]},
            "checkpoint": {"interval": 1},
            "output_dir": str(self.run),
        }

    def found(self, *patterns: str) -> Callable[[], Sequence[Path]]:
        """The files of some patterns, when they are asked for."""
        return lambda: [file for pattern in patterns for file in self.root.glob(pattern) if file.is_file()]

    def restore(self) -> None:
        """The finished run as it was, and nothing sampled."""
        for folder in (self.run, self.out):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.kept, self.run)

    def going_on(self) -> None:
        """Train further."""
        main(["run", str(self.path), f"training.max_train_steps={MORE}"])

    def exporting(self) -> None:
        """The student as a folder."""
        main(["export", str(self.run), "--output", str(self.export)])

    def sampling(self) -> None:
        """A clip of the export."""
        main(["sample", str(self.export), "--prompt", PROMPT, *SIZE, "--output", str(self.out)])

    def state(self) -> object:
        """The last checkpoint's state, the figures, the clips."""
        newest = max((self.run / "checkpoints").glob("step-*"))
        figures = [
            {name: value for name, value in json.loads(line).items() if "second" not in name}
            for line in (self.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        return newest.name, state_of(newest), figures, _hashes(self.run)

    def sampled(self) -> object:
        """The clip."""
        return _hashes(self.out)


def _hashes(folder: Path) -> dict[str, str]:
    return {clip.name: hashlib.sha256(clip.read_bytes()).hexdigest() for clip in folder.rglob("*.mp4")}


def _split(part: Path) -> None:
    """Weights in several files, with an index."""
    model = WanTransformer3DModel.from_pretrained(part)
    shutil.rmtree(part)
    model.save_pretrained(part, max_shard_size="60KB")
    assert list(part.glob("*.index.json"))


def _write_clips(folder: Path) -> None:
    """Two clips of 5 frames, 16 × 16 pixels, with texts as a text encoder of the tiny pipelines could have made them."""
    generator = torch.Generator().manual_seed(5)
    with ParquetWriter(folder, T2V_SCHEMA) as writer:
        for index, caption in enumerate((PROMPT, "a blue circle")):
            latent_CTHW = torch.randn(16, 2, 2, 2, generator=generator)
            text_LD = torch.randn(5, 32, generator=generator)
            writer.add(ClipRecord(f"clip{index}", caption, text_LD, latent_CTHW, f"{index}.mp4", 16, 16, 5, 16.0))
