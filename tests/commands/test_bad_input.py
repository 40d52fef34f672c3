"""A user's mistake: one clear error before training starts, an exit status that is not 0, and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.commands.conftest import Command

RunYaml = Callable[..., Path]


def role(path: Path | str, trainable: bool = True) -> dict[str, Any]:
    return {"path": str(path), "trainable": trainable}


@pytest.fixture
def refused(distill: Command, tmp_path: Path) -> Callable[..., str]:
    """Run it, expect a refusal, return its message; the run directory must not have come to be."""

    def run(path: Path, *overrides: str) -> str:
        result = distill("run", path, *overrides)
        assert result.code not in (0, 1), result
        assert "Traceback" not in result.err
        assert result.err.startswith("error: ")
        assert not (tmp_path / "run").exists()
        return result.err

    return run


def test_a_wrong_path(refused: Callable[..., str], run_yaml: RunYaml, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    message = refused(run_yaml("finetune", roles={"student": role(missing)}))
    assert f"roles.student.path: {missing}" in message or str(missing) in message


def test_a_folder_that_is_no_pipeline(refused: Callable[..., str], run_yaml: RunYaml, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    message = refused(run_yaml("finetune", roles={"student": role(tmp_path / "photos")}))
    assert "model_index.json" in message


def test_a_missing_role(refused: Callable[..., str], run_yaml: RunYaml, tiny: Path) -> None:
    path = run_yaml()
    text = path.read_text()
    path.write_text(text.replace(f"  critic:\n    path: {tiny}\n    trainable: true\n", ""))
    assert "critic" in refused(path)


def test_a_superfluous_role(refused: Callable[..., str], run_yaml: RunYaml, tiny: Path) -> None:
    message = refused(run_yaml("finetune", roles={"student": role(tiny), "judge": role(tiny)}))
    assert "roles.judge" in message


def test_trainable_flags_that_contradict_the_method(refused: Callable[..., str], run_yaml: RunYaml) -> None:
    path = run_yaml()
    assert "roles.teacher.trainable" in refused(path, "roles.teacher.trainable=true")
    assert "roles.student.trainable" in refused(path, "roles.student.trainable=false")


def test_a_parquet_file_without_the_columns(refused: Callable[..., str], run_yaml: RunYaml, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    pq.write_table(pa.table({"id": ["a"], "words": ["b"]}), tmp_path / "odd" / "data.parquet")
    message = refused(run_yaml("finetune", data={"path": str(tmp_path / "odd")}))
    assert "text_embedding_bytes" in message


def test_captions_alone_for_a_method_that_needs_latents(
    distill: Command, refused: Callable[..., str], run_yaml: RunYaml, tmp_path: Path, tiny: Path
) -> None:
    (tmp_path / "captions.txt").write_text("red\nblue\n")
    made = distill(
        "data", "encode", tmp_path / "captions.txt", "--captions-only", "--model", tiny, "--output", tmp_path / "text"
    )
    assert made.code == 0, made.err
    assert "captions only" in refused(run_yaml("finetune", data={"path": str(tmp_path / "text")}))
    assert "data.num_frames" in refused(run_yaml(data={"path": str(tmp_path / "text")}))


def test_latents_whose_channels_do_not_fit(
    refused: Callable[..., str], run_yaml: RunYaml, tmp_path: Path, encoded: Path
) -> None:
    table = pq.read_table(next(encoded.glob("*.parquet")))
    shapes = [[shape[0] // 2, shape[1] * 2, *shape[2:]] for shape in table["vae_latent_shape"].to_pylist()]
    index = table.schema.get_field_index("vae_latent_shape")
    changed = table.set_column(index, table.schema.field(index), pa.array(shapes, pa.list_(pa.int64())))
    (tmp_path / "narrow").mkdir()
    pq.write_table(changed, tmp_path / "narrow" / "data.parquet")
    message = refused(run_yaml("finetune", data={"path": str(tmp_path / "narrow")}))
    assert "8 channels" in message
    assert "16" in message


def test_more_frames_than_the_data_have(refused: Callable[..., str], run_yaml: RunYaml) -> None:
    message = refused(run_yaml("finetune"), "data.num_latent_t=21")
    assert "data.num_latent_t" in message
    assert "21" in message


def test_a_denoising_list_out_of_order(refused: Callable[..., str], run_yaml: RunYaml) -> None:
    message = refused(run_yaml(method_config={"dmd_denoising_steps": [250, 500, 1000]}))
    assert "method_config.dmd_denoising_steps" in message
    assert "descend" in message


@pytest.mark.parametrize(
    "override",
    [
        "checkpoint.interval=0",
        "validation.interval=0",
        "tracking.log_interval=0",
        "method_config.generator_update_interval=0",
        "training.learning_rate=.nan",
        "training.learning_rate=-1",
        "roles.critic.learning_rate=.inf",
        "training.max_train_steps=0",
    ],
)
def test_numbers_that_mean_nothing(refused: Callable[..., str], run_yaml: RunYaml, override: str) -> None:
    assert override.split("=")[0] in refused(run_yaml(), override)


def test_two_roles_with_different_latent_spaces(
    refused: Callable[..., str], run_yaml: RunYaml, tmp_path: Path, tiny: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    config = json.loads((other / "vae" / "config.json").read_text())
    config["latents_mean"] = [value + 1.0 for value in config["latents_mean"]]
    (other / "vae" / "config.json").write_text(json.dumps(config))
    message = refused(run_yaml(roles={"student": role(tiny), "teacher": role(other, False), "critic": role(tiny)}))
    assert "latent" in message
    assert "normalisation" in message


def test_half_a_launcher_is_refused_by_name(
    refused: Callable[..., str], run_yaml: RunYaml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = refused(run_yaml("finetune"))
    assert "RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set" in message
    assert "--nproc-per-node" in message


def test_a_batch_that_the_processes_cannot_share_is_refused_with_one_that_they_can(
    refused: Callable[..., str], run_yaml: RunYaml, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("MASTER_ADDR", "nowhere.invalid")
    monkeypatch.setenv("WORLD_SIZE", "4")
    run = run_yaml("finetune", training={"train_batch_size": 2, "gradient_accumulation_steps": 4})
    message = refused(run)
    assert "training.train_batch_size: 4 processes cannot share a batch of 2 equally" in message
    assert "training.train_batch_size=4 training.gradient_accumulation_steps=2" in message
    monkeypatch.setenv("WORLD_SIZE", "64")
    assert "too few for 64 processes" in refused(run, "training.train_batch_size=64")


def test_a_sparsity_that_leaves_nothing_is_refused(refused: Callable[..., str], run_yaml: RunYaml) -> None:
    message = refused(run_yaml(method_config={"attn_kind": "vsa"}, training={"VSA_sparsity": 1.0}))
    assert "training.VSA_sparsity" in message
    assert "at least 0 and below 1; got 1.0" in message


def test_an_engine_that_cannot_serve_is_refused_by_name(distill: Command, run_yaml: RunYaml) -> None:
    path = run_yaml("finetune", method_config={"attn_kind": "vsa"}, pipeline_config={"vsa_engine": "kernel"})
    result = distill("run", path)
    assert result.code == 2
    assert (
        "pipeline_config.vsa_engine: the kernel engine works on a CUDA GPU only, and this run is on cpu" in result.err
    )


def test_every_mistake_is_reported_at_once(refused: Callable[..., str], run_yaml: RunYaml) -> None:
    message = refused(
        run_yaml(), "training.learning_rate=fast", "checkpoint.keep_lats=2", "method_config.guidence_scale=3"
    )
    assert message.count("\n") >= 3
    assert "keep_last" in message
    assert "guidance_scale" in message
