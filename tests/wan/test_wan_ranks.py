"""Two experts whose weights lie on two processes in parts: trained as by one process, though each process's rows need other experts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.ranked import IMPORTED, launched
from tests.core.test_training import comparable, metrics

import distill_method_phased_dmd.method
import distill_model_wan.model
from distill_core.checkpoint.tensors import read_tensors
from distill_core.cli import main
from distill_core.config.document import write_yaml
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.running.run_directory import RunDirectory
from distill_core.training import both_experts
from distill_model_wan.testing import TEXT_WIDTH, make_tiny_pipeline

MODULES = (*IMPORTED, distill_method_phased_dmd.method, distill_model_wan.model)
"""What each process would import anew."""
LORA = {"rank": 2, "init": "gaussian"}
FRAMES, STEPS = 3, 3
OPTIONS: dict[str, dict[str, Any]] = {
    "finetune": {"weighting_scheme": "uniform"},
    "dmd2": {
        "generator_update_interval": 1,
        "rollout": "data_latent",
        "guidance_range": [0.0, 900.0],
        "low_noise_guidance_scale": 3.0,
    },
    "phased-dmd": {"boundary": 875.0, "generator_update_interval": 1},
}


def made_data(folder: Path) -> None:
    """Eight clips, and what a text encoder made of their captions."""
    generator = torch.Generator().manual_seed(5)
    with ParquetWriter(folder, T2V_SCHEMA) as writer:
        for number in range(8):
            latent, text = (torch.randn(*shape, generator=generator) for shape in ((16, FRAMES, 4, 4), (3, TEXT_WIDTH)))
            writer.add(ClipRecord(f"{number}", f"clip {number}", text, latent, f"{number}.mp4", 32, 32, 9, 16.0))


def run_of(root: Path, method: str, lora: bool, shard: int) -> Path:
    """A run.yaml of two experts; every role on weights of its own, or all on one set, two of them with LoRAs."""
    names = ("student",) if method == "finetune" else ("student", "teacher", "critic")
    trained = {"lora": LORA} if lora else {}
    run: dict[str, Any] = {
        "recipe": {"family": "wan", "method": method},
        "roles": {
            name: {"path": str(root / "a14b"), "trainable": name != "teacher", **({} if name == "teacher" else trained)}
            for name in names
        },
        "data": {"path": str(root / "data")},
        "method_config": OPTIONS[method],
        "training": {
            "max_train_steps": STEPS,
            "train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "learning_rate": 1e-3,
            "enable_gradient_checkpointing_type": "full",
            "device": "cpu",
            "seed": 3,
        },
        "output_dir": str(root / f"run{shard}"),
        "checkpoint": {"interval": STEPS},
        "validation": {"interval": STEPS, "prompts": ["a cat", "a dog", "a cow"], "sampling_steps": 2},
        "tracking": {"log_interval": 1},
        "distributed": {"shard": shard},
    }
    path = root / f"run{shard}.yaml"
    path.write_text(write_yaml(run), encoding="utf-8")
    return path


def run_by(root: Path, path: Path) -> Callable[[int], None]:
    """``distill run``, which writes down at what timesteps it added a sample."""

    def work(rank: int) -> None:
        """One of the processes."""
        torch.set_num_threads(1)
        real, added = both_experts._with_sample, root / f"added{rank}"

        def noted(asked: both_experts.Asked, timestep: float) -> both_experts.Asked:
            with added.open("a", encoding="utf-8") as stream:
                stream.write(f"{timestep:g}\n")
            return real(asked, timestep)

        both_experts._with_sample = noted
        main(["run", str(path)])

    return work


def compared(root: Path, method: str, lora: bool) -> set[str]:
    """Train on one process and on two, and see that figures and weights are alike. Returns the timesteps of added samples."""
    make_tiny_pipeline(root / "a14b", "a14b")
    made_data(root / "data")
    for size in (1, 2):
        work = run_by(root, run_of(root, method, lora, shard=size))
        for rank, ended in enumerate(launched(size, work, root).ended()):
            assert ended.status == 0, f"rank {rank} of {size}: {ended.err}"
    one, two = (comparable(metrics(RunDirectory(root / f"run{size}"))) for size in (1, 2))
    assert len(one) == len(two) >= STEPS
    for alone, shared in zip(one, two, strict=True):
        assert shared == pytest.approx(alone, rel=2e-4)
    first, second = (read_tensors(root / f"run{size}" / "checkpoints" / f"step-{STEPS:08d}" / "dcp") for size in (1, 2))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(
            second[name], tensor, rtol=1e-3, atol=2e-5, msg=lambda said, name=name: f"{name}: {said}"
        )
    return {line for file in root.glob("added*") for line in file.read_text().split()}


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("method", OPTIONS)
def test_experts_in_parts_train_as_whole_ones_do(tmp_path: Path, method: str, lora: bool) -> None:
    assert len(MODULES) == len(IMPORTED) + 2
    added = compared(tmp_path, method, lora)
    assert added == (set() if method == "phased-dmd" else {"937.5", "437.5"})
