"""The causal video VAE of Wan, which other families took over: its config.json, the space of its latents, and its tensors.

Tests compare the tensors with the class itself. Imports no torch.
"""

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from distill_core.plugins import LatentSpace
from distill_diffusers.json_files import Json, Repeats
from distill_diffusers.tensor_shapes import Modules, Shape, convolution, flat, numbered


class CausalVaeConfig(Json):
    """config.json of an AutoencoderKLWan or AutoencoderKLQwenImage, with diffusers' defaults, which are those of Wan 2.1."""

    z_dim: int = 16
    latents_mean: tuple[float, ...] = (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    )  # fmt: skip
    latents_std: tuple[float, ...] = (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    )  # fmt: skip
    base_dim: int = 96
    decoder_base_dim: int | None = None
    dim_mult: Annotated[tuple[int, ...], Field(min_length=1, max_length=16)] = (1, 2, 4, 4)
    num_res_blocks: Repeats = 2
    attn_scales: tuple[()] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    is_residual: bool = False
    in_channels: int = 3
    out_channels: int = 3

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if len(self.temperal_downsample) < len(self.dim_mult) - 1:
            raise ValueError(f"temperal_downsample has too few values for dim_mult, which has {len(self.dim_mult)}")
        return self

    @property
    def latent_space(self) -> LatentSpace:
        """What its latents mean."""
        temporal, spatial = 2 ** sum(self.temperal_downsample), 2 ** len(self.temperal_downsample)
        return LatentSpace(self.z_dim, temporal, spatial, self.latents_mean, self.latents_std)


def causal_vae_shapes(config: CausalVaeConfig) -> dict[str, Shape]:
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


def _down_blocks(config: CausalVaeConfig) -> Modules:
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


def _up_blocks(config: CausalVaeConfig, decoder_dim: int) -> Modules:
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
