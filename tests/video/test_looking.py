"""distill_core.video.looking: what a stream is, how it is shown, and which of several it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from tests.video.small_videos import Picture, corners, grey, greys, numbers, with_cover, write_frames, write_video

from distill_core.errors import DataError
from distill_core.video.looking import Look
from distill_core.video.reading import open_film, read_video

MATRICES = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]
"""a, b, c, d of the eight display matrices that turn and mirror: the pixel at (x, y) is shown at (a·x + c·y, b·x + d·y)."""


def stored(shown: Picture, a: int, b: int, c: int, d: int) -> Picture:
    """The picture that a player with this matrix shows as ``shown``."""
    height, width = shown.shape[:2] if a else shown.shape[1::-1]
    y, x = np.mgrid[:height, :width]
    right, down = a * x + c * y, b * x + d * y
    return np.ascontiguousarray(shown[down - down.min(), right - right.min()])


def changes(path: Path) -> list[str]:
    """What is said of all its frames."""
    with open_film(path) as film:
        for frame in film.frames:
            assert frame.pixels.dtype == torch.uint8
        return list(film.changes)


def look(path: Path) -> Look:
    with open_film(path) as film:
        return film.look


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_video_is_turned_and_mirrored_as_its_display_matrix_says(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    a, b, c, d = (entry << 16 for entry in matrix)
    picture = stored(corners(), *matrix)
    write_video(tmp_path / "a.mp4", [picture] * 2, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    shown = read_video(tmp_path / "a.mp4").frames
    assert shown.shape == (2, 32, 64, 3)
    assert (shown[0].int() - torch.from_numpy(corners()).int()).abs().max() <= 3
    words = {(1, 0, 0, 1): [], (0, -1, 1, 0): ["turned 90° counterclockwise"], (-1, 0, 0, 1): ["mirrored"]}
    assert changes(tmp_path / "a.mp4") == words.get(matrix, changes(tmp_path / "a.mp4"))


def test_a_matrix_that_is_no_quarter_turn_is_said(tmp_path: Path) -> None:
    slanted = (46341, -46341, 0, 46341, 46341, 0, 0, 0, 1 << 30)
    write_video(tmp_path / "a.mp4", greys(2), matrix=slanted)
    assert changes(tmp_path / "a.mp4") == ["its display matrix is no quarter turn, and not applied"]


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2), (64, 128)), (Fraction(1, 2), (128, 64))])
def test_pixels_that_are_not_square_are_made_so(tmp_path: Path, aspect: Fraction, size: tuple[int, int]) -> None:
    y, x = np.mgrid[0:64, 0:64] - 31.5
    wide, high = max(aspect, 1), max(1 / aspect, 1)
    disc = ((x * float(wide)) ** 2 + (y * float(high)) ** 2 < 24**2)[..., None]  # a circle where it is shown
    picture = np.where(disc, 255, 0).astype(np.uint8).repeat(3, -1)
    write_video(tmp_path / "a.mp4", [picture] * 2, aspect=aspect)
    shown = read_video(tmp_path / "a.mp4").frames[0, ..., 0] > 127
    assert shown.shape == size
    assert int(shown.any(0).sum()) == pytest.approx(int(shown.any(1).sum()), abs=1)
    assert changes(tmp_path / "a.mp4") == [f"stretched to square pixels (from 64x64 to {size[1]}x{size[0]})"]


def test_cover_art_is_not_taken_for_the_video(tmp_path: Path) -> None:
    assert numbers(read_video(with_cover(tmp_path / "a.mp4", greys(4))).frames) == [0, 1, 2, 3]


def test_a_file_of_nothing_but_cover_art_has_no_video(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no video stream but cover art"):
        read_video(with_cover(tmp_path / "a.mp4", []))


def test_of_several_streams_the_one_that_is_taken_is_named(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        streams = []
        for size in (32, 64):
            stream = output.add_stream("ffv1", rate=16)
            stream.height, stream.width, stream.pix_fmt = size, size, "bgr0"
            streams.append(stream)
        for stream in streams:
            for picture in greys(4, stream.height, stream.width):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode())
    (said,) = changes(tmp_path / "a.mkv")
    size = read_video(tmp_path / "a.mkv").frames.shape[1]
    assert said == f"of its 2 video streams the one of {size}x{size} pixels"


def test_a_rate_and_a_length_are_known_where_the_file_says_them(tmp_path: Path) -> None:
    assert look(write_video(tmp_path / "a.mp4", greys(8))) == Look(rate=16, seconds=0.5)


@pytest.mark.parametrize(("number", "transfer"), [(16, "PQ"), (18, "HLG"), (1, None)])
def test_the_transfer_function_of_hdr_is_known(tmp_path: Path, number: int, transfer: str | None) -> None:
    frames = [av.VideoFrame.from_ndarray(grey(90), format="rgb24").reformat(format="yuv420p10le")]
    assert look(write_frames(tmp_path / "a.mkv", frames, color_trc=number)).transfer == transfer


def test_colours_that_would_come_out_wrong_are_refused(tmp_path: Path) -> None:
    frames = [av.VideoFrame.from_ndarray(grey(90), format="rgb24").reformat(format="yuv420p10le")]
    write_frames(tmp_path / "a.mkv", frames, colorspace=14)
    with pytest.raises(DataError, match="its colours are stored as ICtCp, which is not read; convert it"):
        read_video(tmp_path / "a.mkv")


def test_wide_colours_that_are_not_hdr_are_said_to_be_taken_for_others(tmp_path: Path) -> None:
    frames = [av.VideoFrame.from_ndarray(grey(90), format="rgb24").reformat(format="yuv420p10le")]
    write_frames(tmp_path / "a.mkv", frames, color_primaries=12)
    assert changes(tmp_path / "a.mkv") == ["its colours of Display P3 are taken as BT.709's"]
