"""Data and the encoders that they rest on: which of them another model has otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from distill_core.data.encoding import encoder_keys as encoder_keys_module
from distill_core.data.encoding.encoder_keys import encoder_keys
from distill_core.data.examining.provenance import OwnEncoders
from distill_core.data.reading.columns import T2V_SCHEMA, TEXT_ONLY_SCHEMA
from distill_core.data.reading.files import read_facts
from distill_core.data.reading.origin import Origin
from distill_model_wan.folder import inspect
from distill_model_wan.testing import make_tiny_pipeline

VAE = Path("vae", "diffusion_pytorch_model.safetensors")
TEXT = Path("text_encoder", "model.safetensors")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that encoded the data."""
    folder = tmp_path_factory.mktemp("provenance") / "model"
    make_tiny_pipeline(folder)
    return folder


def other(model: Path, place: Path, weights: Path, begins: str) -> Path:
    """A copy of a model, another in those of a file's weights whose names begin so."""
    folder = shutil.copytree(model, place / f"{weights.parent.name}-{begins}")
    tensors = load_file(folder / weights)
    chosen = {name: tensor + 1 for name, tensor in tensors.items() if name.startswith(begins)}
    assert chosen
    save_file({**tensors, **chosen}, folder / weights, metadata={"format": "pt"})
    return folder


def origin_of(model: Path, *without: str) -> Origin:
    keys = encoder_keys(inspect(str(model)))
    for part in without:
        keys = keys.without(part)
    return Origin("wan", str(model), keys.whole, {}, 8, keys.parts)


def notes(folder: Path, origin: Origin, *schemas: pa.Schema) -> Iterator[str]:
    """What the model in ``folder`` says of data of this origin, a file without rows for each schema."""
    files = []
    for number, schema in enumerate(schemas):
        path = folder.with_name(f"data-{number}.parquet")
        pq.write_table(schema.with_metadata(origin.metadata()).empty_table(), path)
        files.append(read_facts(path, path))
    return OwnEncoders("wan", "own", inspect(str(folder))).notes("data", files)


@pytest.mark.parametrize(
    ("weights", "begins", "clips", "captions"),
    [
        (VAE, "decoder.", "", ""),
        (VAE, "post_quant_conv.", "", ""),
        (VAE, "encoder.", "the vae of own (wan) is another", ""),
        (VAE, "quant_conv.", "the vae of own (wan) is another", ""),
        (TEXT, "", "the text_encoder of own (wan) is another", "the text_encoder of own (wan) is another"),
    ],
)
def test_encoders_that_data_rest_on_are_named_and_others_are_not(
    tmp_path: Path, model: Path, weights: Path, begins: str, clips: str, captions: str
) -> None:
    changed = other(model, tmp_path, weights, begins)
    assert (origin_of(changed).encoders == origin_of(model).encoders) == (not clips)
    assert (origin_of(changed, "vae").encoders == origin_of(model, "vae").encoders) == (not captions)
    for without, schema, expected in (((), T2V_SCHEMA, clips), (("vae",), TEXT_ONLY_SCHEMA, captions)):
        found = list(notes(changed, origin_of(model, *without), schema, schema))
        assert len(found) == bool(expected)
        assert expected in "".join(found)


def test_an_encoder_that_is_left_out_is_not_read(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = other(model, tmp_path, TEXT, "")
    facts, origin = inspect(str(model)), origin_of(changed, "vae")
    left = encoder_keys(facts).without("vae")
    (changed / VAE).unlink()
    changed_facts = replace(facts, path=changed)
    hashed: list[str] = []
    real = encoder_keys_module._hash_of_encoding
    monkeypatch.setattr(
        encoder_keys_module, "_hash_of_encoding", lambda facts, name: hashed.append(name) or real(facts, name)
    )
    assert encoder_keys(facts, without="vae") == left
    assert encoder_keys(changed_facts, without="vae").whole == origin.encoders
    assert encoder_keys(facts, without="nothing") == encoder_keys(facts)
    hashed.clear()
    (note,) = notes(model, origin, TEXT_ONLY_SCHEMA)
    assert "the text_encoder of own (wan) is another" in note
    assert hashed
    assert not any(name.startswith("vae/") for name in hashed)


def test_every_encoder_that_is_another_is_named_statistics_of_latents_are_the_vaes(tmp_path: Path, model: Path) -> None:
    changed = other(other(model, tmp_path, TEXT, ""), tmp_path, VAE, "encoder.")
    (note,) = notes(changed, origin_of(model), T2V_SCHEMA)
    assert "and the text_encoder and the vae of own (wan) are others: " in note
    config = shutil.copytree(model, tmp_path / "config") / "vae" / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"latents_mean": [', '"latents_mean": [\n'))
    assert config.read_text() != text
    (note,) = notes(config.parent.parent, origin_of(model), T2V_SCHEMA)
    assert "the vae of own (wan) is another" in note
    assert not list(notes(config.parent.parent, origin_of(model, "vae"), TEXT_ONLY_SCHEMA))


def test_captions_that_rest_on_the_vae_too_as_those_beside_pictures_do_are_another_vaes(
    tmp_path: Path, model: Path
) -> None:
    (note,) = notes(other(model, tmp_path, VAE, "encoder."), origin_of(model), TEXT_ONLY_SCHEMA)
    assert "the vae of own (wan) is another" in note


def test_encoders_that_are_not_told_apart_are_others_all_together(tmp_path: Path, model: Path) -> None:
    snapshot = replace(origin_of(model), parts={})
    assert not list(notes(other(model, tmp_path, VAE, "decoder."), snapshot, T2V_SCHEMA))
    (note,) = notes(other(model, tmp_path, TEXT, ""), snapshot, TEXT_ONLY_SCHEMA)
    assert "the encoders of own (wan) are others" in note


def test_a_file_that_is_no_safetensors_is_known_by_its_content(tmp_path: Path, model: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / VAE).write_bytes(b"no weights")
    first = encoder_keys(inspect(str(model))).parts
    second = encoder_keys(replace(inspect(str(model)), path=folder)).parts
    assert {name for name in first if first[name] != second[name]} == {"vae"}


def test_parts_are_recorded_and_read_again_and_a_difference_names_them(model: Path) -> None:
    origin = origin_of(model)
    assert set(origin.parts) == {"vae", "text_encoder", "tokenizer"}
    assert Origin.of(origin.metadata()) == origin
    assert replace(origin, parts={}).difference(origin) == ""
    changed = replace(origin, encoders="x", parts={**origin.parts, "vae": "y", "tokenizer": "z"})
    assert changed.difference(origin) == "the model's tokenizer and vae"
    assert replace(changed, parts={}).difference(origin) == "the model's encoders"
