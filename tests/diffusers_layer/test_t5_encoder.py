"""The tensors that a text encoder's config.json calls for: those that the class of transformers makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from distill_diffusers.json_files import read
from distill_diffusers.t5_encoder import T5Config, UMT5Config, t5_shapes

ODD: dict[str, Any] = {
    "vocab_size": 7, "d_model": 8, "d_kv": 3, "d_ff": 5, "num_layers": 2, "num_heads": 2, "relative_attention_num_buckets": 4,
}  # fmt: skip
CASES = [
    (transformers.UMT5Config, transformers.UMT5EncoderModel, UMT5Config),
    (transformers.T5Config, transformers.T5EncoderModel, T5Config),
]


@pytest.mark.parametrize(
    "settings", [{}, ODD, {**ODD, "feed_forward_proj": "gated-gelu"}, {**ODD, "feed_forward_proj": "relu"}]
)
@pytest.mark.parametrize(("config", "model", "ours"), CASES, ids=["umt5", "t5"])
def test_a_text_encoders_tensors_are_those_of_its_class(
    tmp_path: Path, config: Any, model: Any, ours: type[T5Config], settings: dict[str, Any]
) -> None:
    with torch.device("meta"):
        encoder = model(config(**settings))
    encoder.config.save_pretrained(tmp_path)
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    assert shapes.pop("encoder.embed_tokens.weight") == shapes["shared.weight"]
    assert t5_shapes(read(ours, tmp_path / "config.json")) == shapes


@pytest.mark.parametrize(("config", "model", "ours"), CASES, ids=["umt5", "t5"])
def test_what_a_config_leaves_out_is_what_transformers_takes(config: Any, model: Any, ours: type[T5Config]) -> None:
    theirs = json.loads(config().to_json_string(use_diff=False))
    assert ours().model_dump() == {name: theirs[name] for name in ours.model_fields}
