"""The padded text length is part of what a model is conditioned on: data, exports and runs all know theirs, and do not mix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.wan.conftest import encoded as packed

from distill_core.cli.encoding import EncodeRequest, carry_out
from distill_core.cli.examining import show_preview
from distill_core.config.schema import Data
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.fit import fitting_shapes
from distill_core.errors import DataError, ModelFolderError, RunDirectoryError
from distill_core.finished.source import PixelSize, open_source
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import ModelSpec
from distill_core.running.preparation import Placement
from distill_core.video.writing import write_mp4
from distill_model_wan import plugin
from distill_model_wan.config import WanOptions, settled
from distill_model_wan.folder import inspect
from distill_model_wan.model import WanModel
from distill_model_wan.testing import make_tiny_pipeline

CPU = Placement(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that records having been trained with 16 tokens."""
    return make_tiny_pipeline(tmp_path_factory.mktemp("short") / "pipeline", text_length=16)


def index() -> PluginIndex:
    """This family, as it is installed."""
    registry = Registry(ModelSpec)
    plugin.distill_register_models(registry)
    return PluginIndex.of(models=registry.specs)


def encoded(model: Path, folder: Path, text_length: int | None = None) -> Path:
    """Captions, encoded by the command."""
    captions = folder / "captions.jsonl"
    captions.write_text(json.dumps({"caption": "a red square moves left"}))
    carry_out(EncodeRequest(captions, str(model), folder / "data", captions_only=True, text_length=text_length))
    return folder / "data"


def test_data_record_the_length_and_do_not_fit_a_longer_model(short: Path, tmp_path: Path) -> None:
    dataset = open_dataset(encoded(short, tmp_path), latents=False)
    assert dataset.text_lengths == (16,)
    size = Data(path="data", num_frames=5, num_height=32, num_width=32)
    facts = inspect(str(short))
    assert set(fitting_shapes(dataset.summary(), facts, size).values()) == {(2, 16, 4, 4)}
    longer = inspect(str(make_tiny_pipeline(tmp_path / "longer")))
    with pytest.raises(DataError, match=r"were cut at 16 tokens, .* this one attends 512; encode the captions with"):
        fitting_shapes(dataset.summary(), longer, size)
    fitting_shapes(dataset.summary(), settled(longer, WanOptions(text_length=16)), size)


def test_data_can_be_encoded_for_another_length_than_the_default(tmp_path: Path) -> None:
    model = make_tiny_pipeline(tmp_path / "model")
    dataset = open_dataset(encoded(model, tmp_path, 4), latents=False)
    assert dataset.text_lengths == (4,)
    assert len(dataset[0].text_LD) == 4
    size = Data(path="data", num_frames=5, num_height=32, num_width=32)
    with pytest.raises(DataError, match=r"cut at 4 tokens, .* attends 512; .*`distill data encode --text-length 512`"):
        fitting_shapes(dataset.summary(), inspect(str(model)), size)
    fitting_shapes(dataset.summary(), settled(inspect(str(model)), WanOptions(text_length=4)), size)
    with pytest.raises(RunDirectoryError, match=r"other settings \(text_length: 4 there, 512 here\)"):
        encoded(model, tmp_path)


def test_a_folder_that_records_its_length_encodes_for_no_other(short: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelFolderError, match=r"a text length of 32 is asked for, but .* of 16; leave out .*--text-length"
    ):
        encoded(short, tmp_path, 32)
    assert not (tmp_path / "data").exists()


def test_a_preview_shows_clips_whose_captions_are_longer_than_the_model_reads(short: Path, tmp_path: Path) -> None:
    write_mp4(tmp_path / "videos" / "a.mp4", torch.full((5, 32, 32, 3), 90, dtype=torch.uint8), fps=8)
    (tmp_path / "videos" / "a.txt").write_text("a red square moves left " * 6)
    model = make_tiny_pipeline(tmp_path / "model")
    carry_out(EncodeRequest(tmp_path / "videos", str(model), tmp_path / "data"))
    assert open_dataset(tmp_path / "data", latents=False).summary().max_text_length > 16
    page = show_preview(tmp_path / "data", 1, None, str(short), None)
    assert "<video" in page.read_text()


def test_a_run_that_asks_for_another_length_than_the_folder_records_is_refused_before_it_loads(short: Path) -> None:
    (spec,) = index().models.values()
    with pytest.raises(ModelFolderError, match=r"a text length of 512 is asked for, but .* padded text length of 16"):
        spec.settle(inspect(str(short)), spec.options.model_validate({"text_length": 512}))


def test_a_folder_that_records_its_length_is_sampled_with_it(short: Path) -> None:
    source = open_source(str(short), index(), None, PixelSize(5, 32, 32), CPU, step=None)
    assert isinstance(source.model, WanModel)
    seen: list[int] = []
    source.role.modules["transformer"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2].shape[1]))
    with torch.no_grad():
        text = packed(source.model.adapter, ["a cat walks through tall grass, the quick brown fox jumps over a dog"])
        source.role.predict_velocity(torch.zeros(1, 2, 16, 4, 4), torch.tensor([500.0], dtype=torch.float64), text)
    assert source.model.adapter.packing.length == 16
    assert seen == [16]
