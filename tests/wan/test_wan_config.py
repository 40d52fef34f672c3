"""Wan's options, and where those left open come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from distill_core.errors import ConfigError
from distill_model_wan.config import WanOptions, resolved_flow_shift, resolved_text_length
from distill_model_wan.folder import WanFolder
from distill_model_wan.testing import Variant


def test_the_flow_shift_is_the_options_then_the_folders_then_three(folders: dict[Variant, WanFolder]) -> None:
    folder = replace(folders["t2v"], flow_shift=5.0)
    assert resolved_flow_shift(WanOptions(flow_shift=8.0), folder) == 8.0
    assert resolved_flow_shift(WanOptions(), folder) == 5.0
    assert resolved_flow_shift(WanOptions(), replace(folder, flow_shift=None)) == 3.0


def test_a_folder_without_a_record_takes_any_text_length(folders: dict[Variant, WanFolder]) -> None:
    assert resolved_text_length(WanOptions(), folders["t2v"]) == 512
    assert resolved_text_length(WanOptions(text_length=32), folders["t2v"]) == 32


def test_a_text_length_against_the_record_is_refused(folders: dict[Variant, WanFolder]) -> None:
    folder = replace(folders["t2v"], text_length=16, recorded_text_length=16)
    assert resolved_text_length(WanOptions(), folder) == 16
    assert resolved_text_length(WanOptions(text_length=16), folder) == 16
    with pytest.raises(ConfigError, match=r"pipeline_config.text_length: is 512, but .* padded length of 16"):
        resolved_text_length(WanOptions(text_length=512), folder)


@pytest.mark.parametrize(
    "options",
    [
        {"flow_shift": 0},
        {"flow_shift": -1},
        {"sampler_kind": "euler"},
        {"text_length": 0},
        {"text_padding": "none"},
        {"flow_shfit": 3},
    ],
)
def test_nonsense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WanOptions.model_validate(options)


def test_every_option_is_described() -> None:
    properties = WanOptions.model_json_schema()["properties"]
    assert all(entry["description"] for entry in properties.values())
