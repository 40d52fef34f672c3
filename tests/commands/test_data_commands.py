"""From videos to a trained step: `distill data …` and a run on what it made, good rows and bad ones, one shape and several."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.commands.conftest import Command

from distill_core.video.writing import write_mp4

RunYaml = Callable[..., Path]
UPSTREAM = [
    "id",
    "vae_latent_bytes",
    "vae_latent_shape",
    "vae_latent_dtype",
    "text_embedding_bytes",
    "text_embedding_shape",
    "text_embedding_dtype",
    "file_name",
    "caption",
    "media_type",
    "width",
    "height",
    "num_frames",
    "duration_sec",
    "fps",
]
"""The columns that another trainer of the field writes."""


def spoilt(encoded: Path, folder: Path) -> Path:
    """The encoded clips ten times over, with a NaN in row 3."""
    table = pa.concat_tables([pq.read_table(encoded)] * 10).to_pylist()
    latent = np.frombuffer(table[3]["vae_latent_bytes"], np.float32).copy()
    latent[5] = np.nan
    table[3]["vae_latent_bytes"] = latent.tobytes()
    folder.mkdir()
    pq.write_table(
        pa.Table.from_pylist(table, schema=pq.read_schema(next(encoded.glob("*.parquet")))), folder / "a.parquet"
    )
    return folder


def test_data_are_encoded_inspected_shown_and_validated(
    distill: Command, clips: Path, tiny: Path, tmp_path: Path
) -> None:
    made = distill("data", "encode", clips, "--model", tiny, "--output", tmp_path / "clips", "--bucket", "5x32x32")
    assert made.code == 0, made.err
    assert "encoded 4 of 4" in made.err
    assert "4 × cut to its first 5 frames" in made.err
    looked = distill("data", "inspect", tmp_path / "clips", "--preview", "2")
    assert looked.code == 0, looked.err
    assert "latents [C, T, H, W]: [16, 2, 4, 4] × 4" in looked.out
    assert (tmp_path / "clips" / "_preview.html").read_text().count("<video ") == 2
    read = distill("data", "validate", tmp_path / "clips", "--model", tiny)
    assert (read.code, read.out) == (0, "")
    again = distill("data", "encode", clips, "--model", tiny, "--output", tmp_path / "clips", "--bucket", "5x32x32")
    assert "encoded 4 of 4 (4 of them before)" in again.err


def test_a_bad_row_ends_the_run_by_name(distill: Command, run_yaml: RunYaml, encoded: Path, tmp_path: Path) -> None:
    data = spoilt(encoded, tmp_path / "bad")
    result = distill("run", run_yaml("finetune", data={"path": str(data)}), "training.max_train_steps=40")
    assert result.code == 65
    assert f"{data / 'a.parquet'}:3: vae_latent holds NaN or infinity" in result.err
    assert "Traceback" not in result.err
    assert distill("data", "validate", data).code == 1


def test_a_bad_row_is_passed_over_alike_in_a_run_that_is_stopped(
    distill: Command, run_yaml: RunYaml, encoded: Path, tmp_path: Path
) -> None:
    data = spoilt(encoded, tmp_path / "bad")
    path = run_yaml(
        "finetune",
        data={"path": str(data), "on_bad_row": "skip"},
        training={"max_train_steps": 24, "train_batch_size": 2, "device": "cpu"},
        tracking={"log_interval": 1},
    )
    straight = distill("run", path, f"output_dir={tmp_path / 'straight'}")
    assert straight.code == 0, straight.err
    (line,) = (tmp_path / "straight" / "quarantine.jsonl").read_text().splitlines()
    assert (json.loads(line)["row"], json.loads(line)["reason"]) == (3, "vae_latent holds NaN or infinity")
    assert f"warning: {data / 'a.parquet'}:3 is passed over: vae_latent holds NaN or infinity" in straight.err
    for steps in (10, 24):
        stopped = distill("run", path, f"output_dir={tmp_path / 'stopped'}", f"training.max_train_steps={steps}")
        assert stopped.code == 0, stopped.err
    metrics = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("straight", "stopped")]
    timeless = [
        [
            {key: value for key, value in json.loads(line).items() if "per_second" not in key and key != "time"}
            for line in lines
        ]
        for lines in metrics
    ]
    assert timeless[0] == timeless[1]


def test_buckets_and_mixed_data_sets_train(
    distill: Command, run_yaml: RunYaml, encoded: Path, tiny: Path, tmp_path: Path
) -> None:
    for name, frames, width in (("a", 5, 32), ("b", 9, 48), ("c", 5, 32)):
        write_mp4(tmp_path / "in" / f"{name}.mp4", torch.full((frames, 32, width, 3), 90, dtype=torch.uint8), 8.0)
        (tmp_path / "in" / f"{name}.txt").write_text(f"a {name}")
    made = distill("data", "encode", tmp_path / "in", "--model", tiny, "--output", tmp_path / "more")
    assert "each shape a bucket of its own" in made.err
    path = run_yaml("finetune", data={"path": str(encoded), "mix": [{"path": str(tmp_path / "more"), "repeats": 3}]})
    result = distill("run", path, "training.max_train_steps=8")
    assert result.code == 0, result.err


def test_data_with_the_columns_of_another_trainer_train_unchanged(
    distill: Command, run_yaml: RunYaml, encoded: Path, tmp_path: Path
) -> None:
    table = pq.read_table(encoded)
    assert set(UPSTREAM) < set(table.column_names)
    (tmp_path / "theirs" / "worker_0").mkdir(parents=True)
    plain = table.select(UPSTREAM).replace_schema_metadata(None)
    pq.write_table(plain, tmp_path / "theirs" / "worker_0" / "data_chunk_0.parquet", compression="zstd")
    result = distill("run", run_yaml("finetune", data={"path": str(tmp_path / "theirs")}))
    assert result.code == 0, result.err
    looked = distill("data", "inspect", tmp_path / "theirs")
    assert looked.out.startswith("T2V: 4 rows in 1 file")


@pytest.mark.parametrize("output", ["/proc/data", "/dev/null/data"])
def test_an_output_that_cannot_be_made_is_refused_before_the_model_is_loaded(
    distill: Command, clips: Path, tiny: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_model_wan.model.WanModel.__init__", lambda *_: pytest.fail("the model was loaded"))
    result = distill("data", "encode", clips, "--model", tiny, "--output", output)
    assert result.code == 73
    assert result.err.startswith(f"error: --output {output} cannot be made: ")
