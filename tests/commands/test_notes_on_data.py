"""What a run's data may not be meant to be is said by every command that looks at them, and kept with the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tests.commands.conftest import Command

from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.tensors import tensor_columns


def note_in(text: str) -> str:
    (note,) = (line for line in text.splitlines() if line.startswith("note: "))
    return note


def test_data_of_other_encoders_are_told_with_both_names_by_check_dry_run_and_run(
    tmp_path: Path, tiny: Path, encoded: Path, distill: Command, run_yaml: Callable[..., Path]
) -> None:
    other = shutil.copytree(tiny, tmp_path / "other")
    config = other / "vae" / "config.json"
    path = run_yaml("finetune", roles={"student": {"path": str(other), "trainable": True}})
    for command in (("config", "check", path), ("run", path, "--dry-run")):
        assert "note: " not in distill(*command).err  # another place makes no other encoders
    config.write_text(config.read_text() + "\n")
    said = [distill(*command) for command in (("config", "check", path), ("run", path, "--dry-run"), ("run", path))]
    assert [each.code for each in said] == [0, 0, 0]
    (note,) = {note_in(each.err) for each in said}
    assert f"{encoded} was encoded with {tiny} (wan), and the vae of {other} (wan) is another: " in note
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [event["message"] for event in events if event["event"] == "note"] == [note.removeprefix("note: ")]
    assert note_in(distill("data", "validate", encoded, "--model", other).err) == note
    assert "note: " not in distill("data", "validate", encoded, "--model", tiny).err


def test_latents_that_are_normalised_already_are_told(
    tmp_path: Path, tiny: Path, encoded: Path, distill: Command, run_yaml: Callable[..., Path]
) -> None:
    row = open_dataset(encoded, latents=True)[0]
    assert row.latent_CTHW is not None
    generator = torch.Generator().manual_seed(0)
    latents = [torch.randn(row.latent_CTHW.shape, generator=generator) for _ in range(4)]
    text = tensor_columns("text_embedding", row.text_LD)
    rows = [
        {"id": f"{number}", "caption": "a ball", **text, **tensor_columns("vae_latent", latent)}
        for number, latent in enumerate(latents)
    ]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "a.parquet")
    path = run_yaml("finetune", data={"path": str(tmp_path / "data")})
    said = distill("config", "check", path)
    assert (said.code, said.out) == (0, "ok\n")
    assert f"the latents of {tmp_path / 'data'} look normalised already" in note_in(said.err)
    said = distill("data", "validate", tmp_path / "data", "--model", tiny)
    assert (said.code, said.out) == (0, "")
    assert "look normalised already" in note_in(said.err)
