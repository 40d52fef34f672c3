"""distill_core.data.examining.normalisation and .provenance: what is no fault of the data, and hardly meant."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from data_sets import SPACE, clip, write_clips
from tests.core.conftest import ToyWorld

from distill_core.data.encoding.encoder_keys import encoder_keys
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.examining import normalisation, provenance
from distill_core.data.examining.normalisation import ChannelMoments, look_at_some
from distill_core.data.examining.overview import overview
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.origin import METADATA_KEY, Origin
from distill_core.errors import DataError
from distill_core.plugins.specs import LatentSpace
from distill_core.ranks.place import Place
from distill_core.running.preparation import prepare
from distill_core.running.shared_batches import refuse_idle_processes
from distill_core.testing.toy import encode_caption
from distill_core.testing.toy_spec import inspect, write_toy_model

RAW = LatentSpace(3, 4, 8, mean=(0.5, -0.7, 0.1), std=(2.8, 1.4, 2.1))


def moments_of(mean: Iterable[float], std: Iterable[float]) -> ChannelMoments:
    """Those of three latents with such channels."""
    moments, generator = ChannelMoments(), torch.Generator().manual_seed(0)
    for _ in range(3):
        latent = torch.randn(3, 2, 8, 8, generator=generator)
        moments.add(latent * torch.tensor([*std]).view(3, 1, 1, 1) + torch.tensor([*mean]).view(3, 1, 1, 1))
    return moments


def test_latents_that_are_normalised_are_told_from_raw_ones() -> None:
    assert moments_of((0, 0, 0), (1, 1, 1)).look_normalised(RAW)
    assert not moments_of(RAW.mean, RAW.std).look_normalised(RAW)


@pytest.mark.parametrize(("mean", "std"), [((0, 0, 0), (0, 1, 1)), ((3, 3, 3), (1, 1, 1)), ((0, 0, 0), (4, 4, 4))])
def test_latents_that_are_neither_look_normalised_to_nobody(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    assert not moments_of(mean, std).look_normalised(RAW)


def test_a_model_that_normalises_nothing_has_no_raw_latents_to_tell_from() -> None:
    assert not moments_of((0, 0, 0), (1, 1, 1)).look_normalised(SPACE)
    assert not ChannelMoments().look_normalised(RAW)


def test_a_look_reads_rows_all_over_the_data_and_no_more_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clips(tmp_path, map(clip, range(40)), rows_per_file=5)
    dataset = open_dataset(tmp_path, latents=True)
    assert list(normalisation._spread(dataset)) == [0, 5, 10, 15, 20, 25, 30, 35]
    monkeypatch.setattr(normalisation, "BYTES_LOOKED_AT", 2 * dataset.files[0].size)
    assert list(normalisation._spread(dataset)) == [0, 5]
    bad = replace(clip(1), latent_CTHW=torch.full((3, 2, 4, 4), torch.nan))
    write_clips(tmp_path / "bad", [clip(0), bad])
    with pytest.raises(DataError, match=r"data-00000\.parquet:1: vae_latent holds NaN"):
        look_at_some(open_dataset(tmp_path / "bad", latents=True), skip_bad=False)
    look_at_some(open_dataset(tmp_path / "bad", latents=True), skip_bad=True)


def write_encoded(folder: Path, *origins: Origin, bad: bool = False) -> Path:
    """Toy clips, a file for each origin."""
    for number, origin in enumerate(origins):
        schema = T2V_SCHEMA.with_metadata(origin.metadata())
        with ParquetWriter(folder, schema, name=f"data{number}") as writer:
            for index in range(3):
                latent_CTHW = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(index)) * 2 + 0.5
                latent_CTHW = latent_CTHW * (torch.nan if bad else 1)
                text_LD = encode_caption("a ball")
                writer.add(ClipRecord(f"{number}-{index}", "a ball", text_LD, latent_CTHW, "a.mp4", 16, 16, 9, 16.0))
    return folder


def notes_of(world: ToyWorld, *origins: Origin) -> tuple[str, ...]:
    """What a run says of data with these origins."""
    data = write_encoded(world.root / f"data-{len(list(world.root.iterdir()))}", *origins)
    return prepare(world.resolved(world.mapping("finetune", data={"path": str(data)}))).notes


def test_data_of_other_encoders_are_a_note_with_both_names(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    own = encoder_keys(inspect(str(tmp_path / "student"))).whole
    assert notes_of(world, Origin("toy", "models/elsewhere", own)) == ()
    (note,) = notes_of(world, Origin("toy", "models/other", "x"), Origin("toy", "models/other", "x"))
    assert f"was encoded with models/other (toy), and the encoders of {tmp_path / 'student'} (toy) are others" in note
    (note,) = notes_of(world, Origin("other", "models/other", own))
    assert "models/other (other)" in note
    assert len(notes_of(world, Origin("toy", "a", own), Origin("toy", "b", "x"), Origin("toy", "c", "y"))) == 2


def test_a_folder_that_is_older_than_its_data_is_not_hashed_and_one_that_was_changed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = ToyWorld(tmp_path)
    student = tmp_path / "student"
    origin = Origin("toy", str(student), encoder_keys(inspect(str(student))).whole)
    hashed: list[Path] = []
    monkeypatch.setattr(provenance, "encoder_keys", lambda facts, _: hashed.append(facts.path) or encoder_keys(facts))
    os.utime(student / "toy.json", (1, 1))
    assert notes_of(world, origin) == ()
    assert not hashed
    write_toy_model(student, seed=9)
    os.utime(student / "toy.json", (1 << 40, 1 << 40))
    (note,) = notes_of(world, origin)
    assert hashed == [student]
    assert f"was encoded with {student} (toy)" in note


def test_a_bad_row_among_those_that_are_looked_at_is_found_before_any_weight_is_loaded(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    data = write_encoded(tmp_path / "bad", Origin("toy", "a", "x"), bad=True)
    with pytest.raises(DataError, match=r"data0-00000\.parquet:0: vae_latent holds NaN"):
        prepare(world.resolved(world.mapping("finetune", data={"path": str(data)})))


def test_what_another_program_wrote_under_our_name_is_no_origin() -> None:
    assert Origin.of({METADATA_KEY: b"not JSON"}) is None
    assert Origin.of({METADATA_KEY: b'{"family": 3}'}) is None
    known = Origin("toy", "m", "e", {"dtype": "float32"}, 8)
    assert Origin.of(known.metadata()) == known


def test_inspect_names_every_set_of_encoders_of_the_data_for_a_person_and_for_a_program(tmp_path: Path) -> None:
    apart = Origin("toy", "two", "y", {"dtype": "float32"}, 8, {"text": "0123456789abcdef", "vae": "fedcba9876543210"})
    write_encoded(tmp_path, Origin("toy", "one", "x"), apart, Origin("toy", "one again", "x"))
    found = overview(tmp_path)
    lines = found.lines()
    begin = lines.index("encoded with one (toy): ")
    assert lines[begin + 1 : begin + 4] == [
        "  encoders: not told apart x",
        "other files of it were encoded with two (toy): dtype float32, text_length 8",
        "  encoders: text 0123456789ab, vae fedcba987654",
    ]
    assert "one again" not in "".join(lines)
    (told,) = json.loads(json.dumps(found.as_json()))["further_origins"]
    assert told["parts"] == apart.parts


# batches that repeat rows


@pytest.mark.parametrize(
    ("training", "data", "said"),
    [
        ({"train_batch_size": 5}, {}, None),
        (
            {"train_batch_size": 6},
            {},
            "a step draws 6 samples (training.train_batch_size=6) of 5 rows: it repeats them, up to 2 times",
        ),
        ({"train_batch_size": 2, "gradient_accumulation_steps": 2}, {}, None),
        (
            {"train_batch_size": 2, "gradient_accumulation_steps": 8},
            {},
            "draws 16 samples (training.train_batch_size=2, gradient_accumulation_steps=8) of 5 rows: it repeats them, up to 4 times",
        ),
        ({"train_batch_size": 6}, {"repeats": 7}, "of 5 rows"),
        (
            {"train_batch_size": 100_000},
            {},
            "of 5 rows: it repeats them, up to 20000 times each; 5 or fewer repeat none",
        ),
    ],
)
def test_a_step_that_draws_more_samples_than_there_are_rows_is_a_note_with_both_numbers(
    tmp_path: Path, training: dict[str, int], data: dict[str, int], said: str | None
) -> None:
    world = ToyWorld(tmp_path)
    run = world.mapping("finetune", training=training, data=data)
    notes = [note for note in prepare(world.resolved(run)).notes if "repeat" in note]
    assert [said is not None and said in note for note in notes] == [True] * (said is not None)


def test_a_batch_that_draws_more_samples_than_its_shape_has_rows_is_a_note(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    wide = [replace(clip(number), latent_CTHW=torch.zeros(2, 3, 4, 8)) for number in range(2)]
    write_clips(tmp_path / "wide", [replace(each, text_LD=encode_caption("a ball")) for each in wide])
    mix = {"mix": [{"path": str(tmp_path / "wide")}]}
    told = {
        batch: prepare(world.resolved(world.mapping("finetune", training={"train_batch_size": batch}, data=mix))).notes
        for batch in (2, 3)
    }
    assert told[2] == ()
    (note,) = told[3]
    assert "draws 3 samples (training.train_batch_size): 1 of 2 shapes have fewer rows, latents" in note
    assert "[T, C, H, W] = [3, 2, 4, 8] 2; " in note


@pytest.mark.parametrize(
    ("rows", "batch", "processes", "context", "remedy"),
    [
        (5, 64, 64, 1, "5 rows are too few for 64 processes; start 4, which share a batch of 64"),
        (3, 12, 12, 2, "3 rows are too few for 6 groups of 2 processes; start 6, which share a batch of 12"),
        (4, 8, 8, 2, None),
    ],
)
def test_fewer_rows_than_processes_are_refused_with_a_number_of_them_that_starts(
    rows: int, batch: int, processes: int, context: int, remedy: str | None
) -> None:
    if remedy is None:
        refuse_idle_processes(rows, batch, processes, context)
        return
    with pytest.raises(DataError, match=remedy):
        refuse_idle_processes(rows, batch, processes, context)


def test_rows_that_are_passed_over_and_repeats_of_a_row_employ_no_process(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    bad = replace(clip(9), latent_CTHW=torch.zeros(5, 3, 4, 4), text_LD=encode_caption("a ball"))
    good = [replace(clip(n), latent_CTHW=torch.zeros(2, 3, 4, 4), text_LD=encode_caption("a ball")) for n in range(3)]
    write_clips(tmp_path / "some", [*good, bad])
    data = {"path": str(tmp_path / "some"), "on_bad_row": "skip", "repeats": 4}
    run = world.resolved(world.mapping("finetune", training={"train_batch_size": 4}, data=data))
    with pytest.raises(DataError, match="3 rows are too few for 4 processes; start 2"):
        prepare(run, Place(0, 4))
