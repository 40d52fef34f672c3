"""The arithmetic of sizes between pixels and latents."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distill_core.plugins.specs import LatentSpace

SPACE = LatentSpace(channels=1, temporal_stride=4, spatial_stride=8, mean=(0.0,), std=(1.0,))
counts = st.integers(1, 1000)


@given(counts, counts, counts)
def test_pixels_lead_back_to_the_latents_that_they_are_of(frames: int, rows: int, columns: int) -> None:
    num_frames, height, width = SPACE.pixels((frames, 1, rows, columns))
    assert (num_frames, height, width) == (4 * frames - 3, 8 * rows, 8 * columns)
    found = SPACE.latent_frames(num_frames), SPACE.latent_size(height), SPACE.latent_size(width)
    assert found == (frames, rows, columns)


def test_sizes_between_have_no_latent() -> None:
    assert [SPACE.latent_frames(frames) for frames in (-3, 0, 1, 2, 4, 5, 6)] == [None, None, 1, None, None, 2, None]
    assert [SPACE.latent_size(pixels) for pixels in (-8, 0, 7, 8, 12, 16)] == [None, None, None, 1, None, 2]


@given(counts)
def test_whole_frames_are_the_most_that_make_latents(frames: int) -> None:
    whole = SPACE.whole_frames(frames)
    assert frames - 4 < whole <= frames
    assert SPACE.latent_frames(whole) is not None
