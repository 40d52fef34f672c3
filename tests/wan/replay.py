"""Short runs whose numbers may not change: of every member, method and padding, on tiny models with weights of a seed.

``python -m tests.wan.replay`` prints, for each setting, a hash of all tensors of its last checkpoint and one of its sample clips: run it in
two trees on one machine, and compare. tests/wan/test_replay.py holds the losses of some settings against those of the tree before plugin
API 2, which replay_figures.json keeps.

Against that tree 13 of the 21 settings are bitwise. In the other 8, DMD2 on t2v and ti2v, samples lie outside ``guidance_range``: the
teacher makes no unconditional prediction of them any more, and gives cond where it gave uncond + 1 · (cond - uncond), which differs in the
last bits. ``python -m tests.wan.replay --guide-all`` makes it of every sample again: all 21 are bitwise.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from torch import Tensor

from distill_core import flow
from distill_core.checkpoint import Checkpoint
from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.plugins.discovery import discover
from distill_core.protocols import Condition
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_matching.guidance import Guidance
from distill_matching.losses import guided
from distill_model_wan.testing import TEXT_WIDTH, Variant, make_tiny_pipeline

STEPS = 6
ROLES = ("student", "teacher", "critic")


@dataclass(frozen=True)
class Setting:
    """One short run: a member of the family, a method, and the options that differ from one run to the next."""

    variant: Variant
    method: str
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


def settings() -> Iterator[tuple[str, Setting]]:
    """All of them, by name."""
    variants: tuple[Variant, ...] = ("t2v", "a14b", "ti2v")
    for variant in variants:
        for padding, move in (("fold", "sde"), ("full", "ode")):
            yield f"finetune-{variant}-{padding}", Setting(variant, "finetune", {"text_padding": padding})
            for rollout in ("simulate", "data_latent"):
                options = {
                    "rollout": rollout, "generator_update_interval": 2, "regression_weight": 0.1,
                    "regression_interval": 1, "guidance_range": [0, 700], "score_floor": 0.5, "rollout_move": move,
                }  # fmt: skip
                yield (
                    f"dmd2-{variant}-{padding}-{rollout}",
                    Setting(variant, "dmd2", {"text_padding": padding}, options),
                )
    half = {"precision": "bf16", "enable_gradient_checkpointing_type": "full"}
    yield "finetune-bf16", Setting("t2v", "finetune", {}, {"loss": "x0", "weighting_scheme": "logit_normal"}, half)
    accumulated = {**half, "gradient_accumulation_steps": 2}
    yield "dmd2-bf16", Setting("t2v", "dmd2", {}, {"generator_update_interval": 2}, accumulated)
    yield (
        "dmd2-vsa",
        Setting("t2v", "dmd2", {}, {"generator_update_interval": 1, "attn_kind": "vsa"}, {"VSA_sparsity": 0.5}),
    )


class World:
    """Tiny models and data below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _models(self, variant: Variant) -> None:
        if (self.root / variant).exists():
            return
        for seed, role in enumerate(ROLES):
            make_tiny_pipeline(self.root / variant / role, variant, seed=seed)
        generator, channels = torch.Generator().manual_seed(5), 48 if variant == "ti2v" else 16
        with ParquetWriter(self.root / f"data-{variant}", T2V_SCHEMA) as writer:
            for number in range(5):
                text_LD = torch.randn(3 + number, TEXT_WIDTH, generator=generator)
                latent_CTHW = torch.randn(channels, 3, 4, 4, generator=generator) * 2 + 0.5
                writer.add(
                    ClipRecord(
                        f"clip{number}", f"a cat {number}", text_LD, latent_CTHW, f"{number}.mp4", 32, 32, 9, 16.0
                    )
                )

    def run(self, name: str, setting: Setting, *, validate: bool) -> RunDirectory:
        """Carry one out."""
        self._models(setting.variant)
        roles = ROLES if setting.method == "dmd2" else ROLES[:1]
        mapping: dict[str, Any] = {
            "recipe": {"family": "wan", "method": setting.method},
            "roles": {
                role: {"path": str(self.root / setting.variant / role), "trainable": role != "teacher"} for role in roles
            },
            "data": {"path": str(self.root / f"data-{setting.variant}"), "num_workers": 0},
            "training": {
                "max_train_steps": STEPS, "train_batch_size": 2, "learning_rate": 1e-3, "seed": 3, "device": "cpu",
                **setting.training,
            },
            "checkpoint": {"interval": STEPS},
            "tracking": {"log_interval": 1},
            "pipeline_config": {"flow_shift": 3.0, **setting.pipeline},
            "method_config": dict(setting.options),
            "validation": {"interval": STEPS if validate else None, "sampling_steps": 2, "max_prompts": 1},
            "output_dir": str(self.root / "runs" / name),
        }  # fmt: skip
        mapping["roles"]["student"]["ema"] = {"decay": 0.9}
        path = self.root / f"{name}.yaml"
        path.write_text(write_yaml(mapping), encoding="utf-8")
        resolved = open_run(path, (), discover())
        directory = RunDirectory(Path(resolved.config.output_dir))
        train(prepare(resolved), directory, [], Console(quiet=True))
        return directory


def losses(directory: RunDirectory) -> list[dict[str, float]]:
    """The losses and gradient norms of each step."""
    lines = [json.loads(line) for line in directory.metrics.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if "loss" in key or "norm" in key} for line in lines]


def weights_hash(directory: RunDirectory) -> str:
    """SHA-256 of every tensor of the last checkpoint, by name."""
    checkpoint = Checkpoint(directory.checkpoints / f"step-{STEPS:08d}", STEPS)
    tensors = {name: torch.empty(shape) for name, shape in checkpoint.state()["tensors"].items()}
    checkpoint.load(tensors)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def guide_all(
    self: Guidance,
    cond_BTCHW: Tensor,
    noisy_BTCHW: Tensor,
    timestep_B: Tensor,
    condition: Condition,
    *,
    sigma: Tensor,
    through: bool = False,
) -> Tensor:
    """:meth:`Guidance.guided` with an unconditional prediction of every sample, also of those whose s is 1."""
    scales = [self.options.scale_at(timestep, self.teacher.boundary) for timestep in timestep_B.tolist()]
    negative = self.teacher.unconditional(condition)
    away_BTCHW = self.teacher.predict_velocity(noisy_BTCHW, timestep_B, negative, input_gradients=through)
    uncond_BTCHW = flow.denoised(noisy_BTCHW, away_BTCHW, sigma)
    return guided(cond_BTCHW, uncond_BTCHW, torch.tensor(scales, dtype=torch.float32).view(-1, 1, 1, 1, 1))


def main(only: list[str], *, everywhere: bool) -> None:
    """Print a line for each setting, or for those whose names hold one of ``only``."""
    torch.set_num_threads(1)
    guidance = mock.patch.object(Guidance, "guided", guide_all) if everywhere else nullcontext()
    with tempfile.TemporaryDirectory() as folder, guidance:
        world = World(Path(folder))
        for name, setting in settings():
            if not only or any(part in name for part in only):
                directory = world.run(name, setting, validate=True)
                clips = b"".join(path.read_bytes() for path in sorted(directory.samples.rglob("*.mp4")))
                print(name, weights_hash(directory)[:20], hashlib.sha256(clips).hexdigest()[:12], flush=True)


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name != "--guide-all"], everywhere="--guide-all" in sys.argv)
