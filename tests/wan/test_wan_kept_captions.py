"""A run's prompts: encoded once, and UMT5 let go."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tests.wan.conftest import encoded
from tests.wan.replay import World, settings
from torch import nn

from distill_core.protocols import ModelRequest, ValidationRequest
from distill_core.training.roles import RoleHandle
from distill_diffusers.captions import CaptionEncoder
from distill_diffusers.conditions import CaptionTensors
from distill_model_wan.model import WanModel

MakeModel = Callable[..., WanModel]
MakeRole = Callable[..., RoleHandle]
SHAPE = (2, 16, 4, 4)


def test_a_runs_validations_encode_its_prompts_once_and_keep_no_text_encoder(
    make_model: MakeModel, make_role: MakeRole
) -> None:
    model = make_model(negative_prompt="low quality")
    role = make_role(model)
    request = ValidationRequest(
        "student", "sde", timesteps=(1000.0,), guidance_scale=3.0, seeds=(0,), prompts=("a cat", "a red square")
    )
    two = encoded(model.adapter, ["a cat", "a dog"])
    model.captions.release()
    weights = weakref.ref(model.captions.encoders["text_encoder"].shared.weight)
    with patch.object(CaptionEncoder, "__call__", autospec=True, side_effect=CaptionEncoder.__call__) as encode:
        for _ in range(2):
            list(model.sampler.sample(role, request, SHAPE))
            model.adapter.drop_condition(model.adapter.unconditional(two), torch.tensor([True, False]))
    assert [call.args[1] for call in encode.call_args_list] == ["low quality", "", "a cat", "a red square"]
    assert weights() is None


def test_captions_of_data_leave_the_text_encoder_loaded(make_model: MakeModel) -> None:
    model = make_model()
    model.encode_caption(["a cat"])
    encoded(model.adapter, ["a red square"])
    assert "encoders" in vars(model.captions)


def test_a_kept_caption_is_the_condition_that_encoding_it_gives(make_model: MakeModel) -> None:
    adapter = make_model().adapter
    for _ in range(2):
        (kept,) = adapter.kept_texts(["a cat"])
        fresh = encoded(adapter, ["a cat"])
        assert kept.embeds_BLD.equal(fresh.embeds_BLD)
        assert kept.pad_bias_L is fresh.pad_bias_L


def test_a_run_encodes_its_captions_before_any_role_is_loaded_and_never_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    encode, load_modules = CaptionEncoder.__call__, WanModel.load_modules

    def encoding(encoder: CaptionEncoder, caption: str) -> CaptionTensors:
        done.append(f"encoded {caption}")
        return encode(encoder, caption)

    def loading(model: WanModel, request: ModelRequest) -> Mapping[str, nn.Module]:
        assert "encoders" not in vars(model.captions)
        done.append("loaded")
        return load_modules(model, request)

    monkeypatch.setattr(CaptionEncoder, "__call__", encoding)
    monkeypatch.setattr(WanModel, "load_modules", loading)
    world, setting = World(tmp_path), dict(settings())["finetune-t2v-full"]
    directory = world.run("run", setting, validate=True)
    assert done[-1] == "loaded"
    assert done.count("loaded") == 1
    assert {"encoded ", "encoded a cat 0"} < set(done)
    assert len(list(directory.captions.iterdir())) == len(done) - 1
    done.clear()
    world.run("run", setting, validate=True)
    assert done == ["loaded"]
