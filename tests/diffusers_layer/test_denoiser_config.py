"""What config.json files of denoisers have alike: widths, tensors of each block, what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill_core.errors import ModelFolderError
from distill_diffusers.denoiser_config import DenoiserConfig, shapes_of
from distill_diffusers.parameter_count import counted
from distill_diffusers.two_streams import ToldConfig, TwoStreamConfig

SIZES = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 3, "num_single_layers": 2}
BLOCKS = {
    "transformer_blocks.0.attn.to_q.weight": (6, 6),
    "single_transformer_blocks.0.attn.to_q.weight": (6, 6),
    "single_transformer_blocks.1.attn.to_q.weight": (6, 6),
}
TEXT = {"time_text_embed.text_embedder.linear_1.weight": (6, 5)}
GUIDANCE = {"time_text_embed.guidance_embedder.linear_1.weight": (6, 256)}


def test_shapes_are_those_of_the_config_in_the_parts_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SIZES))
    of_folder = shapes_of(DenoiserConfig, lambda config: {"x": (config.width, config.num_layers)})
    assert of_folder(tmp_path) == {"x": (6, 1)}
    assert counted({"x": (6, 100), "y": (600,)}) == "1.2k"
    (tmp_path / "config.json").write_text(json.dumps({**SIZES, "num_layers": "many"}))
    with pytest.raises(ModelFolderError, match=r"config\.json: num_layers: Input should be a valid integer"):
        of_folder(tmp_path)


def test_a_denoiser_of_two_streams_has_a_tensor_of_each_block() -> None:
    config = TwoStreamConfig.model_validate(SIZES)
    assert config.key_shapes == BLOCKS
    assert (config.all_layers, config.described) == (3, "1 + 2 layers")


@pytest.mark.parametrize("told", [False, True])
def test_one_that_is_told_a_guidance_scale_has_an_embedding_for_it(told: bool) -> None:
    config = ToldConfig.model_validate({**SIZES, "pooled_projection_dim": 5, "guidance_embeds": told})
    assert config.key_shapes == {**TEXT, **(GUIDANCE if told else {}), **BLOCKS}
    assert config.told(3.5) == (3.5 if told else None)
    assert config.described == "1 + 2 layers" + (", told a guidance scale" if told else "")
