"""The commands in the order in which a person uses them, on a tiny real Wan pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.commands.conftest import REPOSITORY, Command

from distill_core.video.reading import read_video

RunYaml = Callable[..., Path]
FEW_STEPS = {"method_config": {"dmd_denoising_steps": [1000, 500, 0], "generator_update_interval": 1}}


def test_dry_run_prints_a_run_yaml_and_writes_nothing(distill: Command, run_yaml: RunYaml, tmp_path: Path) -> None:
    result = distill("run", run_yaml(training={"max_train_steps": 5}), "--dry-run", "training.seed=7")
    assert result.code == 0, result.err
    assert not (tmp_path / "run").exists()
    (tmp_path / "resolved.yaml").write_text(result.out)
    again = distill("run", tmp_path / "resolved.yaml", "--dry-run")
    assert again.out == result.out
    assert "seed: 7" in result.out


def test_the_rfcs_example_runs_as_it_is_written_and_says_what_has_no_effect(
    distill: Command, tiny: Path, encoded: Path, tmp_path: Path
) -> None:
    """The example as the RFC has it; only paths, data and output are ours, and the number of steps in the last override."""
    example = f"""
recipe:
  family: wan
  method: dmd2

roles:
  student:
    family: wan
    path: {tiny}
    trainable: true
  teacher:
    path: {tiny}
    trainable: false
  critic:
    path: {tiny}
    trainable: true

training:
  # comments, too
  max_train_steps: 4000
  learning_rate: 1.0e-6
  VSA_sparsity: 0.7

pipeline_config:
  flow_shift: 3
  sampler_kind: ode

method_config:
  dmd_denoising_steps: [999, 750, 500, 250, 0]
  attn_kind: vsa

data: {{path: {encoded}}}
output_dir: {tmp_path / "run"}
"""
    (tmp_path / "run.yaml").write_text(example)
    result = distill("run", tmp_path / "run.yaml", "training.max_train_steps=5")
    assert result.code == 0, result.err
    assert "video sparse attention by plain torch" in result.err
    figures = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"student_loss", "critic_loss"} <= figures.keys()
    assert figures["vsa_sparsity"] == 0.7
    dense = ["method_config.attn_kind=dense", "training.max_train_steps=5", f"output_dir={tmp_path / 'dense'}"]
    result = distill("run", tmp_path / "run.yaml", *dense)
    assert "training.VSA_sparsity has no effect" in result.err


def test_run_export_and_sample(distill: Command, run_yaml: RunYaml, tmp_path: Path) -> None:
    from diffusers import WanPipeline

    result = distill("run", run_yaml(**FEW_STEPS, validation={"interval": 2, "max_prompts": 1}))
    assert result.code == 0, result.err
    assert "done: step 2" in result.err
    run, out = tmp_path / "run", tmp_path / "export"
    (clip,) = (run / "samples" / "step-00000002").glob("*.mp4")
    assert tuple(read_video(clip).frames.shape) == (9, 32, 32, 3)

    exported = distill("export", run, "--role", "student", "--output", out)
    assert exported.code == 0, exported.err
    pipe = WanPipeline.from_pretrained(out)
    torch.manual_seed(0)
    video = pipe("red", num_frames=9, height=32, width=32, num_inference_steps=2, guidance_scale=1.0, output_type="np")
    assert video.frames.shape == (1, 9, 32, 32, 3)

    for source, name in ((run, "a"), (out, "b")):
        sampled = distill("sample", source, "--prompt", "red", "--seed", "0", "--output", tmp_path / name)
        assert sampled.code == 0, sampled.err
    first, second = (next((tmp_path / name).glob("*.mp4")).read_bytes() for name in ("a", "b"))
    assert first == second, "a run and its export must sample the same video"


def test_a_grid_that_diffusers_cannot_make_is_exported_at_another(
    distill: Command, run_yaml: RunYaml, tmp_path: Path
) -> None:
    """The RFC's own list starts at 999, and every diffusers schedule at 1000."""
    steps = {"method_config": {"dmd_denoising_steps": [999, 750, 500, 250, 0], "generator_update_interval": 1}}
    assert distill("run", run_yaml(**steps)).code == 0
    refused = distill("export", tmp_path / "run", "--output", tmp_path / "out")
    assert refused.code == 2
    assert "1000, 750, 500, 250" in refused.err
    assert "--timesteps" in refused.err
    assert not (tmp_path / "out").exists()
    exported = distill("export", tmp_path / "run", "--output", tmp_path / "out", "--timesteps", "1000,750,500,250")
    assert exported.code == 0, exported.err
    assert json.loads((tmp_path / "out" / "distill.json").read_text())["sampling"]["timesteps"] == [1000, 750, 500, 250]
    assert distill("export", tmp_path / "run", "--output", tmp_path / "o", "--timesteps", "250,500").code == 2


def test_export_does_not_write_over_a_folder(distill: Command, run_yaml: RunYaml, tmp_path: Path) -> None:
    assert distill("run", run_yaml(**FEW_STEPS)).code == 0
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "thesis.txt").write_text("precious")
    result = distill("export", tmp_path / "run", "--output", tmp_path / "export")
    assert result.code == 73
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("role", ["teacher", "nobody"])
def test_export_of_a_role_that_was_not_trained_is_refused(
    distill: Command, run_yaml: RunYaml, tmp_path: Path, role: str
) -> None:
    assert distill("run", run_yaml(**FEW_STEPS)).code == 0
    result = distill("export", tmp_path / "run", "--role", role, "--output", tmp_path / "out")
    assert result.code != 0
    assert "it trains critic, student" in result.err


def test_sample_from_any_pipeline_folder(distill: Command, tiny: Path, tmp_path: Path) -> None:
    size = ("--num-frames", "5", "--height", "32", "--width", "16")
    result = distill("sample", tiny, "--prompt", "red", "--steps", "2", *size, "--output", tmp_path / "out")
    assert result.code == 0, result.err
    (clip,) = (tmp_path / "out").glob("*.mp4")
    assert tuple(read_video(clip).frames.shape) == (5, 32, 16, 3)


def test_sample_refuses_a_size_that_does_not_fit(distill: Command, tiny: Path, tmp_path: Path) -> None:
    size = ("--num-frames", "5", "--height", "24", "--width", "16")
    result = distill("sample", tiny, "--prompt", "red", "--steps", "1", *size, "--output", tmp_path / "out")
    assert result.code == 2
    assert "multiple of the model's patch size" in result.err


def test_a_folder_that_cannot_be_made_is_one_clear_error(distill: Command, run_yaml: RunYaml, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = distill("run", run_yaml("finetune", output_dir=str(tmp_path / "file" / "run")))
    assert result.code in (73, 74)
    assert result.err.splitlines()[-1].startswith("error: ")


def test_export_of_another_role_is_sampled_by_the_runs_own_settings(
    distill: Command, run_yaml: RunYaml, tmp_path: Path
) -> None:
    assert distill("run", run_yaml(**FEW_STEPS, validation={"sampling_steps": 7, "guidance_scale": 3.0})).code == 0
    exported = distill("export", tmp_path / "run", "--role", "critic", "--output", tmp_path / "critic")
    assert exported.code == 0, exported.err
    sampling = json.loads((tmp_path / "critic" / "distill.json").read_text())["sampling"]
    assert (sampling["sampler"], sampling["steps"], sampling["guidance_scale"]) == ("ode", 7, 3.0)


def test_sample_says_what_is_missing(distill: Command, tiny: Path, tmp_path: Path) -> None:
    assert "--height" in distill("sample", tiny, "--prompt", "red", "--output", tmp_path / "out").err
    assert "--prompt" in distill("sample", tiny, "--output", tmp_path / "out").err
    nothing = distill("sample", tmp_path, "--prompt", "red", "--output", tmp_path / "out")
    assert "neither a run directory nor a pipeline" in nothing.err
    assert nothing.code == 2


def test_a_second_run_of_a_finished_run_is_quick_and_changes_nothing(
    distill: Command, run_yaml: RunYaml, tmp_path: Path
) -> None:
    path = run_yaml("finetune")
    assert distill("run", path).code == 0
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert distill("run", path).code == 0
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_run_directory_names_plugins_with_their_versions(distill: Command, run_yaml: RunYaml, tmp_path: Path) -> None:
    assert distill("run", run_yaml("finetune")).code == 0
    plugins = json.loads((tmp_path / "run" / "plugins.json").read_text())
    assert {"wan", "dmd2", "finetune"} <= {plugin["name"] for plugin in plugins}
    assert all(plugin["version"] for plugin in plugins)


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("examples/**/*.yaml")), ids=lambda path: path.name)
def test_every_shipped_yaml_obeys_the_schema(path: Path) -> None:
    from distill_core.config.load import load_run

    load_run(path)
