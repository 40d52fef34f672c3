"""Wan's options, and where those left open come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from distill_core.errors import ModelFolderError
from distill_model_wan.config import WanOptions, settled
from distill_model_wan.folder import WanFolder
from distill_model_wan.testing import Variant


def test_the_flow_shift_is_the_options_then_the_folders_then_three(folders: dict[Variant, WanFolder]) -> None:
    folder = replace(folders["t2v"], flow_shift=5.0)
    assert settled(folder, WanOptions(flow_shift=8.0)).flow_shift == 8.0
    assert settled(folder, WanOptions()).flow_shift == 5.0
    assert settled(replace(folder, flow_shift=None), WanOptions()).flow_shift == 3.0


def test_a_folder_without_a_record_takes_any_text_length(folders: dict[Variant, WanFolder]) -> None:
    assert settled(folders["t2v"], WanOptions()).text_length == 512
    assert settled(folders["t2v"], WanOptions(text_length=32)).text_length == 32


def test_a_text_length_against_the_record_is_refused(folders: dict[Variant, WanFolder]) -> None:
    folder = replace(folders["t2v"], text_length=16, recorded_text_length=16)
    assert settled(folder, WanOptions()).text_length == 16
    assert settled(folder, WanOptions(text_length=16)).text_length == 16
    with pytest.raises(ModelFolderError, match=r"a text length of 512 is asked for, but .* padded text length of 16"):
        settled(folder, WanOptions(text_length=512))


def test_what_is_settled_once_stays_so(folders: dict[Variant, WanFolder]) -> None:
    options = WanOptions(flow_shift=8.0, text_length=32)
    once = settled(folders["t2v"], options)
    assert settled(once, options) == once


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
