"""examples/shapes/make_pipeline.py and text_encoder.py: a folder that ordinary diffusers loads."""

from __future__ import annotations

from pathlib import Path

import make_pipeline
import pytest
import torch
from diffusers import WanPipeline
from text_encoder import make_text_encoder, make_tokenizer
from transformers import AutoTokenizer
from vae import VaeTraining, new_vae

from distill_core.errors import RunDirectoryError
from distill_metric_shapes.captions import SMALL, captions, vocabulary

pytestmark = pytest.mark.xdist_group("shapes pipeline")  # what they share is made once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("shapes") / "pipeline"
    make_pipeline.save(make_pipeline.make_pipeline(new_vae(0), seed=0), output, torch.float16)
    return output


def test_a_saved_tokenizer_gives_every_caption_back(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    for caption in captions(SMALL):
        ids = tokenizer(caption).input_ids
        assert len(ids) == 6
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == caption


def test_the_tokenizer_ignores_case_and_marks_words_it_does_not_know() -> None:
    tokenizer = make_tokenizer(vocabulary())
    assert tokenizer("A Red SQUARE moves left").input_ids == tokenizer("a red square moves left").input_ids
    assert tokenizer.convert_ids_to_tokens(tokenizer("a pink square").input_ids) == ["a", "<unk>", "square", "</s>"]
    assert tokenizer("", padding="max_length", max_length=3).input_ids == [1, 0, 0]


@torch.no_grad()
def test_text_features_differ_between_captions_and_are_a_function_of_the_seed() -> None:
    tokenizer = make_tokenizer(vocabulary())
    ids = tokenizer(list(captions(SMALL)), return_tensors="pt").input_ids
    features, again, other = (
        make_text_encoder(tokenizer, seed)(ids).last_hidden_state.flatten(1) for seed in (0, 0, 1)
    )
    assert torch.pdist(features).min() > 1.0
    assert torch.equal(features, again)
    assert not torch.equal(features, other)


def test_the_stored_folder_is_small_enough_to_ship(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 2_000_000


def test_ordinary_diffusers_loads_the_folder_and_samples(folder: Path) -> None:
    pytest.importorskip("accelerate", reason="WanTransformer3DModel.from_pretrained refuses to load without it")
    pipeline = WanPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    video = pipeline(
        "a red square moves left", height=32, width=32, num_frames=9, num_inference_steps=1, guidance_scale=1.0
    ).frames
    assert video.shape == (1, 9, 32, 32, 3)
    assert pipeline.scheduler.config.flow_shift == 1.0


def test_a_pipeline_is_written_over_nothing(folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(RunDirectoryError, match="is not empty"):
        make_pipeline.make(folder, tmp_path / "work", VaeTraining(), 1.0, torch.float16)
    assert sorted(folder.rglob("*")) == before
    assert not (tmp_path / "work").exists()


def test_the_whole_recipe_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_pipeline, "TRAINING_CLIPS", 4)
    monkeypatch.setattr(make_pipeline, "EVALUATION_CLIPS", 2)
    output, work, training = tmp_path / "pipeline", tmp_path / "work", VaeTraining(steps=2, batch=1)
    make_pipeline.make(output, work, training, 1e-9, torch.float32)
    assert "stopped at step" in capsys.readouterr().out
    assert not output.exists()
    make_pipeline.make(output, work, training, 1e9, torch.float32)
    printed = capsys.readouterr().out
    assert "drew 4" not in printed
    assert "[judge] real clips       all 1.000" in printed
    assert (output / "model_index.json").is_file()
