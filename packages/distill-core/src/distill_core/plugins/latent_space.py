"""The space that latents are of. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LatentSpace:
    """The space that a family's denoiser works in. Roles of one run must share it.

    Attributes:
        channels: latent channels C.
        temporal_stride: pixel frames per latent frame; F pixel frames give T = (F - 1) / temporal_stride + 1 latent frames.
        spatial_stride: pixels per latent row and column.
        mean: per-channel mean of raw latents, C values.
        std: per-channel standard deviation of raw latents, C values.
    """

    channels: int
    temporal_stride: int
    spatial_stride: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def pixels(self, latent_shape: tuple[int, int, int, int]) -> tuple[int, int, int]:
        """Frames F, height H and width W of the video that a latent [T, C, H, W] decodes to."""
        frames, _, height, width = latent_shape
        return self.whole_frames_of(frames), height * self.spatial_stride, width * self.spatial_stride

    def whole_frames_of(self, latent_frames: int) -> int:
        """F of a video whose latent has T frames."""
        return (latent_frames - 1) * self.temporal_stride + 1

    def latent_frames(self, frames: int) -> int | None:
        """T of a video of F frames, or None if they make no whole number of latent frames."""
        latent_frames, rest = divmod(frames - 1, self.temporal_stride)
        return None if rest or frames < 1 else latent_frames + 1

    def latent_size(self, pixels: int) -> int | None:
        """Latent rows or columns of a height or width, or None if it makes no whole number of them."""
        size, rest = divmod(pixels, self.spatial_stride)
        return None if rest or size < 1 else size

    def whole_frames(self, frames: int) -> int:
        """The largest number of frames up to F ≥ 1 that makes a whole number of latent frames."""
        return (frames - 1) // self.temporal_stride * self.temporal_stride + 1

    def difference(self, other: LatentSpace) -> str | None:
        """Why latents of one space mean nothing in the other, or None if the two are the same space."""
        for name in ("channels", "temporal_stride", "spatial_stride"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"{name} {mine} against {theirs}"
        if self.mean != other.mean or self.std != other.std:
            return "other normalisation statistics (latents_mean, latents_std)"
        return None
