"""The name and shape of every tensor of Wan's transformer and VAE, as their config.json files call for them.

Tests compare every list with the class itself. Imports no torch, reads no file.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

from distill_diffusers.tensor_shapes import Modules, Shape, convolution, flat, linear, numbered
from distill_model_wan.pipeline_json import TransformerConfig, VaeConfig


def transformer_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Those of a WanTransformer3DModel, of text or of pictures."""
    width = config.num_attention_heads * config.attention_head_dim
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


def vae_shapes(config: VaeConfig) -> dict[str, Shape]:
    """Those of an AutoencoderKLWan, of Wan 2.1 or, with ``is_residual``, of Wan 2.2."""
    decoder_dim = config.base_dim if config.decoder_base_dim is None else config.decoder_base_dim
    first, last = config.base_dim, config.base_dim * config.dim_mult[-1]
    top, bottom = decoder_dim * config.dim_mult[-1], decoder_dim * config.dim_mult[0]
    encoder: Modules = {
        "conv_in": convolution(config.in_channels, first, 3, 3, 3),
        "down_blocks": _down_blocks(config),
        "mid_block": _middle(last),
        "norm_out": _norm(last),
        "conv_out": convolution(last, 2 * config.z_dim, 3, 3, 3),
    }
    decoder: Modules = {
        "conv_in": convolution(config.z_dim, top, 3, 3, 3),
        "mid_block": _middle(top),
        "up_blocks": _up_blocks(config, decoder_dim),
        "norm_out": _norm(bottom),
        "conv_out": convolution(bottom, config.out_channels, 3, 3, 3),
    }
    return flat(
        {
            "encoder": encoder,
            "quant_conv": convolution(2 * config.z_dim, 2 * config.z_dim, 1, 1, 1),
            "post_quant_conv": convolution(config.z_dim, config.z_dim, 1, 1, 1),
            "decoder": decoder,
        }
    )


def _down_blocks(config: VaeConfig) -> Modules:
    """The encoder's levels: a block each in Wan 2.2, one flat list of layers in Wan 2.1."""
    widths = [config.base_dim * factor for factor in (1, *config.dim_mult)]
    blocks: list[Modules] = []
    for level, (inputs, outputs) in enumerate(pairwise(widths)):
        resnets = _resnets(inputs, outputs, config.num_res_blocks)
        halved: list[Modules] = []
        if level + 1 < len(config.dim_mult):
            halved = [_resample(outputs, outputs, outputs if config.temperal_downsample[level] else None)]
        if config.is_residual:
            blocks.append({"resnets": numbered(resnets), **({"downsampler": halved[0]} if halved else {})})
        else:
            blocks += [*resnets, *halved]
    return numbered(blocks)


def _up_blocks(config: VaeConfig, decoder_dim: int) -> Modules:
    """The decoder's levels. In Wan 2.1 doubling the size halves the channels, in Wan 2.2 it keeps them."""
    widths = [decoder_dim * factor for factor in (config.dim_mult[-1], *reversed(config.dim_mult))]
    temporal = tuple(reversed(config.temperal_downsample))
    blocks: list[Modules] = []
    for level, (inputs, outputs) in enumerate(pairwise(widths)):
        if level and not config.is_residual:
            inputs //= 2
        block: dict[str, Modules | Shape] = {"resnets": numbered(_resnets(inputs, outputs, config.num_res_blocks + 1))}
        if level + 1 < len(config.dim_mult):
            name, resampled = ("upsampler", outputs) if config.is_residual else ("upsamplers.0", outputs // 2)
            block[name] = _resample(outputs, resampled, 2 * outputs if temporal[level] else None)
        blocks.append(block)
    return numbered(blocks)


def _resnets(inputs: int, outputs: int, count: int) -> list[Modules]:
    return [_resnet(inputs if number == 0 else outputs, outputs) for number in range(count)]


def _resnet(inputs: int, outputs: int) -> Modules:
    shortcut = {} if inputs == outputs else {"conv_shortcut": convolution(inputs, outputs, 1, 1, 1)}
    return {
        "norm1": _norm(inputs),
        "conv1": convolution(inputs, outputs, 3, 3, 3),
        "norm2": _norm(outputs),
        "conv2": convolution(outputs, outputs, 3, 3, 3),
        **shortcut,
    }


def _middle(width: int) -> Modules:
    attention = {
        "norm": {"gamma": (width, 1, 1)},
        "to_qkv": convolution(width, 3 * width, 1, 1),
        "proj": convolution(width, width, 1, 1),
    }
    return {"attentions.0": attention, "resnets": numbered(_resnets(width, width, 2))}


def _resample(inputs: int, outputs: int, time_outputs: int | None) -> Modules:
    """Half or double the size of pictures, and of time too unless ``time_outputs`` is None."""
    in_time = {} if time_outputs is None else {"time_conv": convolution(inputs, time_outputs, 3, 1, 1)}
    return {"resample.1": convolution(inputs, outputs, 3, 3), **in_time}


def _norm(width: int) -> Modules:
    return {"gamma": (width, 1, 1, 1)}
