"""The RFC's sparse run on the shipped teacher, end to end: it trains, goes on exactly, and its export is sampled as the run is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distill_core.cli import main

ROOT = Path(__file__).resolve().parents[2]
TEACHER = ROOT / "examples" / "shapes" / "teacher"

RUN = f"""
recipe: {{family: wan, method: dmd2}}
roles:
  student: {{path: {TEACHER}, trainable: true, ema: {{decay: 0.5}}}}
  teacher: {{path: {TEACHER}, trainable: false}}
  critic: {{path: {TEACHER}, trainable: true}}
data:
  path: {ROOT / "examples" / "shapes" / "prompts"}
  num_frames: 17
  num_height: 64
  num_width: 96
training:
  max_train_steps: 8
  train_batch_size: 2
  learning_rate: 1.0e-3
  enable_gradient_checkpointing_type: full
  VSA_sparsity: 0.7
  VSA_decay_rate: 0.5
  VSA_decay_interval_steps: 3
  cpu_threads: 1
pipeline_config: {{flow_shift: 3, sampler_kind: ode}}
method_config:
  dmd_denoising_steps: [1000, 750, 500, 250, 0]
  generator_update_interval: 2
  attn_kind: vsa
checkpoint: {{interval: 4}}
tracking: {{log_interval: 1}}
"""
"""5 × 8 × 12 tokens, in 2 × 2 × 3 cubes."""


@pytest.fixture
def distill(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must succeed, and return what it said."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        assert not stop.value.code, captured.err
        return captured.err

    return run


@pytest.mark.slow
def test_a_sparse_student_trains_goes_on_exactly_and_is_exported(distill: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    said = distill("run", path, f"output_dir={whole}")
    assert said.count("video sparse attention by plain torch") == 1  # one role attends sparsely
    logged = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["vsa_sparsity"] for line in logged] == [0.0, 0.0, 0.5, 0.5, 0.5, 0.7, 0.7, 0.7]

    distill("run", path, f"output_dir={stopped}")
    shutil.rmtree(stopped / "checkpoints" / "step-00000008")
    distill("run", path, f"output_dir={stopped}")
    for file in (whole / "checkpoints" / "step-00000008" / "dcp").glob("*.distcp"):
        assert file.read_bytes() == (stopped / "checkpoints" / "step-00000008" / "dcp" / file.name).read_bytes()

    said = distill("export", whole, "--role", "student", "--output", tmp_path / "export")
    assert "warning: it was trained with vsa attention, which diffusers does not have" in said
    record = json.loads((tmp_path / "export" / "distill.json").read_text())
    assert record["sampling"]["vsa"] == {"sparsity": 0.7, "cube": [4, 4, 4]}
    weights = load_file(tmp_path / "export" / "transformer" / "diffusion_pytorch_model.safetensors")
    gates = {name: tensor for name, tensor in weights.items() if "to_gate_compress" in name}
    assert len(gates) == 2 * 4
    assert all(tensor.any() for tensor in gates.values())
    for source, name in ((whole, "a"), (tmp_path / "export", "b")):
        distill("sample", source, "--prompt", "a red square moves left", "--output", tmp_path / name)
    first, second = (next((tmp_path / name).glob("*.mp4")).read_bytes() for name in ("a", "b"))
    assert first == second


def test_vanilla_diffusers_loads_a_sparse_students_export_without_its_gates(
    distill: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from diffusers import WanPipeline

    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    distill("run", path, f"output_dir={tmp_path / 'run'}", "training.max_train_steps=2", "checkpoint.interval=2")
    distill("export", tmp_path / "run", "--role", "student", "--output", tmp_path / "export")
    pipe = WanPipeline.from_pretrained(tmp_path / "export")
    assert not any("to_gate_compress" in name for name in pipe.transformer.state_dict())
    torch.manual_seed(0)
    video = pipe(
        "a red square moves left",
        num_frames=17,
        height=64,
        width=96,
        num_inference_steps=4,
        guidance_scale=1.0,
        output_type="np",
    )
    assert video.frames.shape == (1, 17, 64, 96, 3)
