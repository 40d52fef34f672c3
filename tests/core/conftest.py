"""A toy world: models of a few weights and a small data set on disk, from which whole runs are made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tests.core.brightness import BRIGHTNESS

from distill_core.config.document import write_yaml
from distill_core.config.resolve import ResolvedRun, open_run
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import MethodSpec
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing.toy import encode_caption
from distill_core.testing.toy_spec import TOY, write_toy_model

CAPTIONS = ["a red square", "a blue circle", "two green things", "nothing at all", "a yellow triangle"]


def methods() -> list[MethodSpec]:
    from distill_method_causal import plugin as causal
    from distill_method_dmd2 import plugin as dmd2
    from distill_method_finetune import plugin as finetune

    registry: Registry[MethodSpec] = Registry(MethodSpec)
    dmd2.distill_register_methods(registry)
    finetune.distill_register_methods(registry)
    causal.distill_register_methods(registry)
    return list(registry.specs)


INDEX = PluginIndex.of(models=[TOY], methods=methods(), metrics=[BRIGHTNESS])


class ToyWorld:
    """Folders of toy models and data below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for seed, role in enumerate(("student", "teacher", "critic")):
            write_toy_model(root / role, seed=seed)
        write_data(root / "data")

    def mapping(self, method: str, **sections: Mapping[str, Any]) -> dict[str, Any]:
        """A run.yaml as plain data; ``sections`` are merged into it."""
        frozen = {"teacher"}
        names = ("student", "teacher", "critic") if method == "dmd2" else ("student",)
        run: dict[str, Any] = {
            "recipe": {"family": "toy", "method": method},
            "roles": {name: {"path": str(self.root / name), "trainable": name not in frozen} for name in names},
            "data": {"path": str(self.root / "data")},
            "training": {
                "max_train_steps": 12,
                "train_batch_size": 2,
                "learning_rate": 1e-2,
                "seed": 3,
                "device": "cpu",
            },
            "output_dir": str(self.root / "run"),
            "checkpoint": {"interval": 4},
            "tracking": {"log_interval": 2},
        }
        for name, section in sections.items():
            run[name] = {**run.get(name, {}), **section}
        return run

    def resolved(self, mapping: Mapping[str, Any], *overrides: str) -> ResolvedRun:
        """The run, resolved."""
        path = self.root / "run.yaml"
        path.write_text(write_yaml(mapping), encoding="utf-8")
        return open_run(path, overrides, INDEX)

    def train(self, mapping: Mapping[str, Any], *overrides: str) -> RunDirectory:
        """Train it from beginning to end, as ``distill run`` does."""
        resolved = self.resolved(mapping, *overrides)
        prepared = prepare(resolved)
        directory = RunDirectory(Path(resolved.config.output_dir))
        directory.claim(resolved.to_mapping())
        train(prepared, directory, [], Console(quiet=True))
        return directory


def write_data(folder: Path, channels: int = 2, seed: int = 5) -> None:
    """Five clips, [channels, 3, 4, 4] each, in the T2V schema."""
    generator = torch.Generator().manual_seed(seed)
    with ParquetWriter(folder, T2V_SCHEMA) as writer:
        for index, caption in enumerate(CAPTIONS):
            latent_CTHW = torch.randn(channels, 3, 4, 4, generator=generator) * 2 + 0.5
            writer.add(
                ClipRecord(
                    f"clip{index}", caption, encode_caption(caption), latent_CTHW, f"{index}.mp4", 16, 16, 9, 16.0
                )
            )


@pytest.fixture
def world(tmp_path: Path) -> ToyWorld:
    """A toy world."""
    return ToyWorld(tmp_path)
