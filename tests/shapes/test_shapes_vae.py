"""examples/shapes/vae.py: the pieces of the loss against numbers worked out by hand, and a training that resumes exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from vae import (
    Progress,
    VaeTraining,
    decode_unclamped,
    latent_statistics,
    new_vae,
    pixel_weight,
    psnr,
    to_frames,
    to_video,
    train_vae,
    vae_loss,
)

from distill_core.errors import CheckpointError
from distill_metric_shapes.captions import SMALL
from distill_metric_shapes.world import BACKGROUND, Frames, make_clip

TRAINING = VaeTraining(steps=4, batch=1)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return np.stack([make_clip(SMALL, 0, index).frames_FHW3 for index in range(4)])


def test_frames_come_back_from_the_range_of_the_vae(frames: Frames) -> None:
    video_B3FHW = to_video(frames)
    assert video_B3FHW.shape == (4, 3, 9, 32, 32)
    assert video_B3FHW.abs().max() <= 1.0
    assert np.array_equal(to_frames(video_B3FHW), frames)


@torch.no_grad()
def test_decoding_unclamped_and_then_clamping_is_what_the_vae_decodes() -> None:
    vae = new_vae(0).eval()
    latents_BCTHW = 20.0 * torch.randn(1, 8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    unclamped = decode_unclamped(vae, latents_BCTHW)
    assert unclamped.abs().max() > 1.0
    assert torch.equal(unclamped.clamp(-1.0, 1.0), vae.decode(latents_BCTHW).sample)


def test_pixels_weigh_one_on_background_four_inside_a_shape_and_more_on_its_edge() -> None:
    video_B3FHW = torch.full((1, 3, 1, 16, 16), 2.0 * BACKGROUND - 1.0)
    video_B3FHW[..., 4:12, 4:12] = 1.0
    weight_HW = pixel_weight(video_B3FHW)[0, 0, 0]
    assert weight_HW[0, 0].item() == pytest.approx(1.0, abs=1e-5)
    assert weight_HW[8, 8].item() == pytest.approx(4.0, abs=1e-5)
    assert weight_HW[8, 4].item() == pytest.approx(4.0 + 20.0 * (1.0 - BACKGROUND) / 3.0, abs=1e-4)


def test_the_learning_rate_is_constant_and_then_falls_linearly() -> None:
    training = VaeTraining(steps=100, learning_rate=2e-3, decay=0.5)
    assert [training.learning_rate_at(step) for step in (0, 50, 75, 99)] == pytest.approx([2e-3, 2e-3, 1e-3, 4e-5])


def test_psnr_of_an_error_of_one_level_is_48_decibels() -> None:
    zeros = np.zeros((1, 2, 4, 4, 3), dtype=np.uint8)
    assert psnr(zeros, zeros + 1) == pytest.approx(48.13, abs=0.01)


def test_every_weight_of_the_vae_gets_a_gradient(frames: Frames) -> None:
    vae = new_vae(0)
    vae_loss(vae, to_video(frames[:1]), torch.zeros(1, 8, 3, 8, 8)).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in vae.parameters())


class _PowerCutError(Exception):
    pass


def test_a_training_cut_off_in_the_middle_resumes_to_the_same_weights(frames: Frames, tmp_path: Path) -> None:
    def cut_off(progress: Progress) -> None:
        if progress.step == 3:
            raise _PowerCutError

    whole, _ = train_vae(frames, TRAINING, tmp_path / "whole.pt", lambda _: None)
    with pytest.raises(_PowerCutError):
        train_vae(frames, TRAINING, tmp_path / "parts.pt", cut_off, every=1)
    assert torch.load(tmp_path / "parts.pt", weights_only=True)["step"] == 2
    resumed, steps = train_vae(frames, TRAINING, tmp_path / "parts.pt", lambda _: None)
    assert steps == TRAINING.steps
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_training_out_of_time_stops_and_says_where(frames: Frames, tmp_path: Path) -> None:
    _, steps = train_vae(frames, TRAINING, tmp_path / "vae.pt", lambda _: None, seconds=1e-9)
    assert steps < TRAINING.steps


def test_a_state_of_other_settings_is_refused(frames: Frames, tmp_path: Path) -> None:
    train_vae(frames, replace(TRAINING, steps=1), tmp_path / "vae.pt", lambda _: None)
    with pytest.raises(CheckpointError, match="name another folder"):
        train_vae(frames, TRAINING, tmp_path / "vae.pt", lambda _: None)


def test_there_is_a_mean_and_a_deviation_for_every_latent_channel(frames: Frames) -> None:
    mean, std = latent_statistics(new_vae(0).eval(), frames)
    assert len(mean) == len(std) == 8
    assert min(std) > 0.0
