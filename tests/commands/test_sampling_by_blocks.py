"""``distill sample --blocks``: streamed, told how fast, refused where it cannot be; and an export that streams."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanPipeline
from tests.commands.conftest import Command

from distill_core.finished.sample import SampleOrder
from distill_core.plugins.discovery import discover
from distill_core.plugins.recognition import recognised
from distill_core.protocols import ModelRequest, ValidationRequest
from distill_core.video.reading import read_video
from distill_diffusers.export_record import STREAMED
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import inspect
from distill_model_wan.model import WanModel

pytestmark = pytest.mark.xdist_group("blocks")  # what they share is made once

SMALL = ("--num-frames", "9", "--height", "16", "--width", "16", "--steps", "2", "--guidance", "1")
STUDENT = ValidationRequest("student", "sde", timesteps=(1000.0, 500.0), guidance_scale=1.0, blocks=3, window=6, sink=1)


def test_a_folder_is_streamed_and_the_first_blocks_time_is_told(distill: Command, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = distill("sample", tiny, "--prompt", "red", *SMALL, "--blocks", "1", "--window", "2", "--output", out)
    assert told.code == 0, told.err
    assert "by blocks: the first could be shown after" in told.err
    assert "frames per second" in told.err
    assert "trained to be sampled whole, and is sampled by blocks of 1 latent frames that see 2 before them" in told.err
    assert len(read_video(out / "0000-red-seed0.mp4").frames) == 9


def test_without_blocks_nothing_is_told_of_them(distill: Command, tiny: Path, tmp_path: Path) -> None:
    told = distill("sample", tiny, "--prompt", "red", *SMALL, "--output", tmp_path / "out")
    assert told.code == 0, told.err
    assert "blocks" not in told.err


def test_a_window_without_blocks_is_refused(distill: Command, tiny: Path, tmp_path: Path) -> None:
    told = distill("sample", tiny, "--prompt", "red", *SMALL, "--window", "2", "--output", tmp_path / "out")
    assert told.code == 2
    assert "set blocks too" in told.err


def order(**asked: Any) -> SampleOrder:
    plain = SampleOrder("run", Path("out"), ("a",), (0,), *(None,) * 9, 16.0, None, None)
    return replace(plain, **asked)


def test_what_is_not_asked_is_as_recorded_and_other_blocks_bring_their_own_window() -> None:
    kept = order().applied_to(STUDENT)
    assert (kept.blocks, kept.window, kept.sink) == (3, 6, 1)
    assert not list(order().remarks(STUDENT))
    other = order(blocks=2).applied_to(STUDENT)
    assert (other.blocks, other.window, other.sink) == (2, None, 0)
    longer = order(window=9).applied_to(STUDENT)
    assert (longer.blocks, longer.window, longer.sink) == (3, 9, 1)
    (remark,) = order(blocks=2).remarks(STUDENT)
    assert remark == (
        "it was trained to be sampled by blocks of 3 latent frames that see 6 before them and the first 1, and is sampled by blocks of 2 "
        "latent frames"
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A causal student of the tiny Wan."""
    facts = inspect(str(tiny))
    model = WanModel(facts, WanOptions(), torch.device("cpu"), torch.float32)
    request = replace(STUDENT, blocks=1, window=2, timesteps=(1000.0, 900.0, 100.0))
    modules = model.load_modules(ModelRequest(facts, False, torch.float32, operations=request.parts))
    out = tmp_path_factory.mktemp("causal") / "out"
    model.export(modules, facts, request, (3, 16, 2, 2), out, torch.float32)
    return out


def test_an_export_says_how_it_streams_and_is_read_back_so(exported: Path) -> None:
    sampling = inspect(str(exported)).sampling
    assert sampling is not None
    assert (sampling.blocks, sampling.window, sampling.sink) == (1, 2, 1)
    assert sampling.timesteps == (1000.0, 900.0, 100.0), "distill walks timesteps that no scheduler of diffusers makes"
    assert [spec.name for spec, _ in recognised(str(exported), discover(), "")] == ["wan"]
    card = (exported / "README.md").read_text()
    assert "No pipeline of diffusers samples it" in card
    assert "on the 2 latent frames before and the first 1" in card


def test_diffusers_refuses_it_by_name(exported: Path) -> None:
    """WanPipeline would load its weights and let every frame see all; it must not."""
    index = json.loads((exported / "model_index.json").read_text())
    assert index["transformer"] == [STREAMED, "WanTransformer3DModel"]
    with pytest.raises(Exception, match=STREAMED):
        WanPipeline.from_pretrained(exported)


def test_an_export_is_streamed_by_its_folder_alone(distill: Command, exported: Path, tmp_path: Path) -> None:
    told = distill("sample", exported, "--prompt", "red", "--num-frames", "17", "--output", tmp_path / "out")
    assert told.code == 0, told.err
    assert "by blocks: the first could be shown after" in told.err
    assert len(read_video(tmp_path / "out" / "0000-red-seed0.mp4").frames) == 17, "longer than it was trained"
