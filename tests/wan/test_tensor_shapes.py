"""The tensors that config.json files call for: those that the classes of diffusers make of them."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel

from distill_diffusers.tensor_shapes import Shape
from distill_model_wan.pipeline_json import TransformerConfig
from distill_model_wan.tensor_shapes import transformer_shapes

ODD_TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 2, "num_layers": 1, "patch_size": [2, 2, 4], "cross_attn_norm": False, "freq_dim": 6, "text_dim": 7,
}  # fmt: skip


def shapes_of(module: torch.nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        ({"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960}, 1.419),
        ({}, 14.288),
        ({"num_attention_heads": 24, "num_layers": 30, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48}, 5.0),
        (ODD_TRANSFORMER, None),
        ({"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}, 16.395),
        ({"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120, "pos_embed_seq_len": 514}, 16.396),
    ],
    ids=["1.3B", "14B", "5B", "odd", "I2V 14B", "FLF2V 14B"],
)
def test_a_transformers_tensors_are_those_of_its_class(config: dict[str, Any], billions: float | None) -> None:
    with torch.device("meta"):
        transformer = WanTransformer3DModel(**config)
    shapes = transformer_shapes(
        TransformerConfig.model_validate({"_class_name": "WanTransformer3DModel", **json.loads(json.dumps(config))})
    )
    assert shapes == shapes_of(transformer)
    if billions is not None:
        assert sum(prod(shape) for shape in shapes.values()) / 1e9 == pytest.approx(billions, abs=1e-3)
