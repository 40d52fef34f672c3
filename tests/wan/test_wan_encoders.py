"""Text and pixels through the frozen parts: the same numbers as WanPipeline's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline

from distill_core.errors import DataError
from distill_model_wan.model import WanModel
from distill_model_wan.testing import Variant

MakeModel = Callable[..., WanModel]
PROMPTS = ("a cat", "  two\n\nspaces &amp;amp; an entity ", "“quotes” and cafÃ©", "")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_captions_are_encoded_as_wanpipeline_does(
    make_model: MakeModel, pipelines: dict[Variant, Path], prompt: str
) -> None:
    pipeline = WanPipeline.from_pretrained(pipelines["t2v"])
    with torch.no_grad():
        expected, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=512)
    (trimmed,) = make_model().encode_caption([prompt])
    assert trimmed.dtype == torch.float32
    assert 0 < len(trimmed) < 512
    assert make_model(text_padding="full").adapter.packing.pack([trimmed]).embeds_BLD.equal(expected)


def test_a_long_caption_is_cut_at_the_padded_length(make_model: MakeModel) -> None:
    (trimmed,) = make_model(text_length=8).encode_caption(["a cat walks through tall grass " * 10])
    assert len(trimmed) == 8


def test_captions_do_not_depend_on_their_neighbours(make_model: MakeModel) -> None:
    model = make_model()
    together = model.encode_caption(["a cat", "a red square moves left"])
    alone = [model.encode_caption([caption])[0] for caption in ("a cat", "a red square moves left")]
    assert all(one.equal(other) for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize(("variant", "pixels"), [("t2v", (32, 48)), ("ti2v", (64, 96))])
def test_a_clip_is_encoded_as_the_mode_of_its_posterior(
    make_model: MakeModel, variant: Variant, pixels: tuple[int, int]
) -> None:
    model = make_model(variant)
    frames = torch.randint(0, 256, (9, *pixels, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    latent = model.encode_video(frames)
    assert latent.shape == (48 if variant == "ti2v" else 16, 3, 4, 6)
    assert latent.dtype == torch.float32
    scaled = (frames.permute(3, 0, 1, 2)[None].double() / 127.5 - 1.0).float()
    torch.testing.assert_close(latent, model.codec.vae.encode(scaled).latent_dist.mean[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((8, 32, 32), "8 frames are not 1 [+] a multiple of 4; cut the clip to 5"),
        ((9, 40, 32), "height 40 is not a multiple of 16; scale or crop it to 32"),
        ((9, 32, 17), "width 17 is not a multiple of 16"),
    ],
)
def test_a_clip_of_a_wrong_size_is_refused(make_model: MakeModel, size: tuple[int, int, int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make_model().encode_video(torch.zeros(*size, 3, dtype=torch.uint8))


def test_decoded_frames_are_wanpipelines(make_model: MakeModel, pipelines: dict[Variant, Path]) -> None:
    pipeline = WanPipeline.from_pretrained(pipelines["t2v"])
    latents_BCTHW = torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, std = (
        torch.tensor(pipeline.vae.config[name]).view(1, 16, 1, 1, 1) for name in ("latents_mean", "latents_std")
    )
    with torch.no_grad():
        video = pipeline.vae.decode(latents_BCTHW / (1.0 / std) + mean, return_dict=False)[0]
    expected = pipeline.video_processor.postprocess_video(video, output_type="np")
    frames = make_model().adapter.decode_latents(latents_BCTHW.transpose(1, 2))
    assert frames.dtype == torch.uint8
    assert frames.shape == (1, 5, 32, 32, 3)
    assert frames.equal(torch.from_numpy((expected * 255).round().astype("uint8")))


def test_the_tokens_of_a_caption_are_counted_before_it_is_cut(make_model: MakeModel) -> None:
    long, model = "a cat walks through tall grass " * 10, make_model(text_length=8)
    (tokens,) = make_model(text_length=512).encode_caption([long])
    assert model.count_tokens([long, "a cat"]) == [len(tokens), len(model.encode_caption(["a cat"])[0])]
    assert len(model.encode_caption([long])[0]) == 8
