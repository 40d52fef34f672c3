"""The causal VAE's tensors and its space: those that the classes of diffusers make of a config.json."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, AutoencoderKLWan

from distill_diffusers.causal_vae import CausalVaeConfig, causal_vae_shapes

WAN_22_VAE: dict[str, Any] = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "in_channels": 12, "out_channels": 12, "is_residual": True,
    "patch_size": 2, "scale_factor_spatial": 16, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        {},
        WAN_22_VAE,
        {"dim_mult": [1, 1, 2], "num_res_blocks": 1, "temperal_downsample": [True, False], "base_dim": 4},
        {**WAN_22_VAE, "dim_mult": [1, 2, 2], "temperal_downsample": [True, False], "decoder_base_dim": None},
    ],
    ids=["2.1", "2.2", "odd", "odd-residual"],
)
def test_a_vaes_tensors_are_those_of_its_class(config: dict[str, Any]) -> None:
    with torch.device("meta"):
        vae = AutoencoderKLWan(**config)
    shapes = {name: tuple(tensor.shape) for name, tensor in vae.state_dict().items()}
    assert causal_vae_shapes(CausalVaeConfig.model_validate(config)) == shapes


def test_qwen_image_has_the_tensors_and_the_statistics_of_wan() -> None:
    with torch.device("meta"):
        vae = AutoencoderKLQwenImage()
    ours = CausalVaeConfig.model_validate({})
    assert causal_vae_shapes(ours) == {name: tuple(tensor.shape) for name, tensor in vae.state_dict().items()}
    assert (ours.latents_mean, ours.latents_std) == (tuple(vae.config.latents_mean), tuple(vae.config.latents_std))
