"""T5 and UMT5, the text encoders of many families: their config.json, with transformers' defaults, and the tensors that it calls for.

Imports no torch."""

from typing import ClassVar

from distill_diffusers.json_files import Json, Repeats
from distill_diffusers.tensor_shapes import Modules, Shape, flat


class T5Config(Json):
    """config.json of a T5EncoderModel."""

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: Repeats = 6
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    feed_forward_proj: str = "relu"

    positions_in_every_block: ClassVar[bool] = False
    """Whether each block has a table of relative positions of its own, or the first alone."""


class UMT5Config(T5Config):
    """config.json of a UMT5EncoderModel."""

    vocab_size: int = 250112
    d_ff: int = 1024
    num_layers: Repeats = 8
    num_heads: int = 6
    feed_forward_proj: str = "gated-gelu"

    positions_in_every_block: ClassVar[bool] = True


def t5_shapes(config: T5Config) -> dict[str, Shape]:
    """The tensors of the encoder; the embedding, which it has under two names, by that of ``shared``."""
    blocks: dict[str, Modules | Shape] = {
        str(number): _block(config, positions=config.positions_in_every_block or number == 0)
        for number in range(config.num_layers)
    }
    return flat(
        {
            "shared": {"weight": (config.vocab_size, config.d_model)},
            "encoder.block": blocks,
            "encoder.final_layer_norm": {"weight": (config.d_model,)},
        }
    )


def _block(config: T5Config, *, positions: bool) -> Modules:
    width, inner = config.d_model, config.num_heads * config.d_kv
    gated = config.feed_forward_proj.startswith("gated-")
    attention: dict[str, Modules | Shape] = {
        **{name: {"weight": (inner, width)} for name in "qkv"},
        "o": {"weight": (width, inner)},
    }
    if positions:
        attention["relative_attention_bias"] = {"weight": (config.relative_attention_num_buckets, config.num_heads)}
    return {
        "layer.0": {"SelfAttention": attention, "layer_norm": {"weight": (width,)}},
        "layer.1": {
            "DenseReluDense": {
                **{name: {"weight": (config.d_ff, width)} for name in (("wi_0", "wi_1") if gated else ("wi",))},
                "wo": {"weight": (width, config.d_ff)},
            },
            "layer_norm": {"weight": (width,)},
        },
    }
