"""Rules for pixels: the size that the facts say, one picture by both decoders, a graph where it is promised."""

from __future__ import annotations

import torch

from distill_core.protocols.adapter import DecodesLatents, DecodesPixels, EncodesPixels
from distill_core.testing.models.subject import Subject, Tried


def check_pixels(subject: Subject, tried: Tried) -> None:
    """Whatever of the three the adapter has."""
    adapter = subject.model.adapter
    if isinstance(adapter, DecodesLatents):
        with tried.rule("decode_latents"):
            _check_frames(subject, adapter, tried)
    if isinstance(adapter, DecodesPixels):
        with tried.rule("decode_pixels"):
            _check_pixels(subject, adapter, tried)
    if isinstance(adapter, EncodesPixels):
        with tried.rule("encode_pixels"):
            _check_encoding(subject, adapter, tried)


def _check_frames(subject: Subject, adapter: DecodesLatents, tried: Tried) -> None:
    latents = subject.batch.latents
    frames = adapter.decode_latents(latents)
    expected = (2, *subject.facts.latent_space.pixels(subject.shape), 3)
    tried.expect(
        tuple(frames.shape) == expected and frames.dtype == torch.uint8,
        "decode_latents",
        f"frames are {frames.dtype} {list(frames.shape)}; give uint8 {list(expected)}",
    )
    tried.expect(
        torch.equal(adapter.decode_latents(latents[1:]), frames[1:]),
        "decode_latents",
        "a sample is decoded otherwise beside another; decode one by one",
    )


def _check_pixels(subject: Subject, adapter: DecodesPixels, tried: Tried) -> None:
    rule, latents = "decode_pixels", subject.batch.latents.clone().requires_grad_()
    pixels = adapter.decode_pixels(latents)
    frames, height, width = subject.facts.latent_space.pixels(subject.shape)
    expected = [2, frames, 3, height, width]
    tried.expect(
        list(pixels.shape) == expected and pixels.dtype == torch.float32,
        rule,
        f"pixels are {pixels.dtype} {list(pixels.shape)}; give float32 {expected}",
    )
    tried.expect(pixels.requires_grad, rule, "pixels have no graph; a reward trains through them")
    if isinstance(adapter, DecodesLatents):
        shown = adapter.decode_latents(subject.batch.latents).movedim(-1, 2).double()
        levels = float((pixels.detach().double().clamp(0.0, 1.0) * 255.0 - shown).abs().max())
        tried.expect(
            levels <= 1.01,
            rule,
            f"pixels are up to {levels:.1f} levels of 255 off decode_latents; both show one picture in [0, 1]",
        )


def _check_encoding(subject: Subject, adapter: EncodesPixels, tried: Tried) -> None:
    rule = "encode_pixels"
    pixels = (torch.stack(subject.clips).float() / 255.0).movedim(-1, 2).requires_grad_()
    latents = adapter.encode_pixels(pixels)
    tried.expect(latents.requires_grad, rule, "latents have no graph; a perceptual loss trains through them")
    what = "normalised latents of pixels, and those of the same clip through encode_video and the core's normalisation"
    tried.expect_close(rule, what, latents.detach(), subject.batch.latents, 10.0 * subject.close)
