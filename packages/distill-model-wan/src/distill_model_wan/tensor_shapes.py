"""The name and shape of every tensor of Wan's transformer, as its config.json calls for them.

Tests compare every list with the class itself. Imports no torch, reads no file.
"""

from __future__ import annotations

from math import prod

from distill_diffusers.tensor_shapes import Modules, Shape, convolution, flat, linear
from distill_model_wan.pipeline_json import TransformerConfig


def transformer_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those of a WanTransformer3DModel, of text or of pictures."""
    width = config.width
    attention = {
        **{name: linear(width, width) for name in ("to_q", "to_k", "to_v", "to_out.0")},
        **{name: {"weight": (width,)} for name in ("norm_q", "norm_k")},
    }
    of_pictures: dict[str, Modules | Shape] = {}
    if config.added_kv_proj_dim is not None:
        of_pictures = {name: linear(config.added_kv_proj_dim, width) for name in ("add_k_proj", "add_v_proj")}
        of_pictures["norm_added_k"] = {"weight": (width,)}
    block: dict[str, Modules | Shape] = {
        "attn1": attention,
        "attn2": {**attention, **of_pictures},
        "ffn.net.0.proj": linear(width, config.ffn_dim),
        "ffn.net.2": linear(config.ffn_dim, width),
        "scale_shift_table": (1, 6, width),
    }
    if config.cross_attn_norm:
        block["norm2"] = {"weight": (width,), "bias": (width,)}
    return flat(
        {
            "patch_embedding": convolution(config.in_channels, width, *config.patch_size),
            "condition_embedder": {
                "time_embedder": {"linear_1": linear(config.freq_dim, width), "linear_2": linear(width, width)},
                "time_proj": linear(width, 6 * width),
                "text_embedder": {"linear_1": linear(config.text_dim, width), "linear_2": linear(width, width)},
                **_image_embedder(config, width),
            },
            "blocks": {str(number): block for number in range(config.num_layers)},
            "scale_shift_table": (1, 2, width),
            "proj_out": linear(width, config.out_channels * prod(config.patch_size)),
        }
    )


def _image_embedder(config: TransformerConfig, width: int) -> dict[str, Modules | Shape]:
    """What pictures' features go through, where there are any."""
    if config.image_dim is None:
        return {}
    embedder: dict[str, Modules | Shape] = {
        "norm1": {"weight": (config.image_dim,), "bias": (config.image_dim,)},
        "ff.net.0.proj": linear(config.image_dim, config.image_dim),
        "ff.net.2": linear(config.image_dim, width),
        "norm2": {"weight": (width,), "bias": (width,)},
    }
    if config.pos_embed_seq_len is not None:
        embedder["pos_embed"] = (1, config.pos_embed_seq_len, config.image_dim)
    return {"image_embedder": embedder}
