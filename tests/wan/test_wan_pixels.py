"""Pixels with the graph: what diffusers' VAE computes, frame by frame, made anew in backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.wan.conftest import MakeModel
from torch import Tensor

from distill_core.errors import DataError
from distill_model_wan.adapter import WanAdapter
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

Draw = Callable[..., Tensor]
VARIANTS: tuple[Variant, ...] = ("t2v", "ti2v")


def latents(model: WanModel, noise: Draw, frames: int = 3) -> Tensor:
    return noise(1, frames, model.adapter.facts.latent_space.channels, 4, 4)


def raw(adapter: WanAdapter, latents_BTCHW: Tensor) -> Tensor:
    mean, std = (
        torch.tensor(each).view(1, 1, -1, 1, 1)
        for each in (adapter.facts.latent_space.mean, adapter.facts.latent_space.std)
    )
    return (latents_BTCHW / (1.0 / std) + mean).transpose(1, 2)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("frames", [1, 3])
def test_decoded_pixels_and_their_gradient_are_those_of_the_vae(
    make_model: MakeModel, noise: Draw, variant: Variant, frames: int
) -> None:
    model = make_model(variant)
    found = []
    for decode in (
        model.adapter.decode_pixels,
        lambda x: (model.codec.vae.decode(raw(model.adapter, x))[0] / 2.0 + 0.5).clamp(0.0, 1.0).transpose(1, 2),
    ):
        given = latents(model, noise, frames).requires_grad_()
        pixels = decode(given)
        (pixels * torch.linspace(0.0, 1.0, pixels.shape[-1])).sum().backward()
        found.append((pixels, given.grad))
    (pixels, gradient), (expected, wanted) = found
    space = model.adapter.facts.latent_space
    assert pixels.shape == (1, 4 * frames - 3, 3, 4 * space.spatial_stride, 4 * space.spatial_stride)
    assert pixels.dtype == torch.float32
    assert 0.0 <= pixels.min() <= pixels.max() <= 1.0
    assert pixels.equal(expected)
    assert gradient is not None
    assert gradient.ne(0).any()
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


def test_they_are_the_frames_that_are_written(make_model: MakeModel, noise: Draw) -> None:
    model = make_model()
    with torch.no_grad():
        pixels = model.adapter.decode_pixels(latents(model, noise))
    frames = model.adapter.decode_latents(latents(model, noise))
    assert (pixels * 255.0).round().to(torch.uint8).movedim(2, -1).equal(frames)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("frames", [1, 9])
def test_encoded_pixels_and_their_gradient_are_those_of_the_vae(
    make_model: MakeModel, noise: Draw, variant: Variant, frames: int
) -> None:
    model = make_model(variant)
    space, size = model.adapter.facts.latent_space, 64
    mean, std = (torch.tensor(each).view(1, 1, -1, 1, 1) for each in (space.mean, space.std))
    found = []
    for encode in (
        model.adapter.encode_pixels,
        lambda x: (
            (
                model.codec.vae.encode((x * 2.0 - 1.0).transpose(1, 2).contiguous()).latent_dist.mode().transpose(1, 2)
                - mean
            )
            / std
        ),
    ):
        given = noise(1, frames, 3, size, size).sigmoid().requires_grad_()
        made = encode(given)
        made.square().sum().backward()
        found.append((made, given.grad))
    (made, gradient), (expected, wanted) = found
    assert made.shape == (
        1,
        (frames + 3) // 4,
        space.channels,
        size // space.spatial_stride,
        size // space.spatial_stride,
    )
    assert made.equal(expected)
    assert gradient is not None
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-4)


def test_encoding_is_what_the_data_are_encoded_with(make_model: MakeModel, noise: Draw) -> None:
    model = make_model()
    frames = (noise(5, 32, 32, 3).sigmoid() * 255.0).round().to(torch.uint8)
    space = model.adapter.facts.latent_space
    mean, std = (torch.tensor(each).view(-1, 1, 1, 1) for each in (space.mean, space.std))
    stored = (model.encode_video(frames) - mean) / std
    made = model.adapter.encode_pixels(frames.float().movedim(-1, 1)[None] / 255.0)
    torch.testing.assert_close(made[0].transpose(0, 1), stored, rtol=1e-5, atol=1e-5)


def test_videos_of_a_batch_are_coded_one_by_one(make_model: MakeModel, noise: Draw) -> None:
    adapter = make_model().adapter
    two = noise(2, 2, 16, 4, 4)
    pixels = adapter.decode_pixels(two)
    assert pixels[1:].equal(adapter.decode_pixels(two[1:]))
    assert adapter.encode_pixels(pixels)[1:].equal(adapter.encode_pixels(pixels[1:]))


def test_less_is_kept_for_backward_than_the_vae_itself_keeps(make_model: MakeModel, noise: Draw) -> None:
    model = make_model()

    def kept(decode: Callable[[Tensor], Tensor]) -> int:
        """Bytes that backward would find."""
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            decode(latents(model, noise, 5).requires_grad_())
        return total

    bare = kept(lambda x: model.codec.vae.decode(raw(model.adapter, x))[0])
    assert kept(model.adapter.decode_pixels) < bare / 3


def test_a_video_that_makes_no_whole_latent_is_refused(make_model: MakeModel, noise: Draw) -> None:
    adapter = make_model().adapter
    with pytest.raises(DataError, match=r"6 frames are not 1 \+ a multiple of 4; cut the clip to 5"):
        adapter.encode_pixels(noise(1, 6, 3, 32, 32))
    with pytest.raises(DataError, match="width 40 is not a multiple of 16; scale or crop it to 32"):
        adapter.encode_pixels(noise(1, 5, 3, 32, 40))
