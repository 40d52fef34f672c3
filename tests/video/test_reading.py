"""distill_core.video.reading: frames on one clock, opaque, SDR, whole; damage and odd names."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from tests.video.small_videos import (
    LOSSLESS,
    break_frames,
    corners,
    deep_grey,
    grey,
    greys,
    joined,
    numbers,
    remuxed,
    without_rate,
    write_frames,
    write_video,
)

from distill_core.errors import DataError
from distill_core.video.reading import open_film, read_video


def watched(path: Path) -> tuple[list[int], list[float], list[str]]:
    """Which of the grey frames are shown, when, and what is said of them."""
    with open_film(path) as film:
        frames = list(film.frames)
        return numbers(frame.pixels for frame in frames), [frame.time for frame in frames], list(film.changes)


def every(interval: float, count: int) -> list[float]:
    return [pytest.approx(number * interval, abs=1.1e-3) for number in range(count)]


# One clock


@pytest.mark.parametrize("start", [3600.0, 0.0])
def test_where_time_stamps_begin_makes_no_difference(tmp_path: Path, start: float) -> None:
    write_video(tmp_path / "a.mkv", greys(9), times=[start + number / 16 for number in range(9)])
    assert watched(tmp_path / "a.mkv") == (list(range(9)), every(1 / 16, 9), [])


def test_frames_before_time_0_which_have_no_stamps_come_first(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", greys(9))
    remuxed(tmp_path / "b.nut", source, [number / 16 - 0.25 for number in range(9)])
    shown, times, _ = watched(tmp_path / "b.nut")
    assert (shown, times) == (list(range(9)), every(1 / 16, 9))


def test_a_clock_that_goes_back_starts_a_new_part_of_one_clock(tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{start}.ts", greys(9, 64, 64, start)) for start in (0, 9)]
    shown, times, said = watched(joined(tmp_path / "joined.mpg", *parts))
    assert (shown, times) == (list(range(18)), every(1 / 16, 18))
    assert said == ["its clock goes back: what comes then is put after what was (at frame 9)"]


def test_a_browsers_file_without_a_rate_is_timed_by_its_stamps(tmp_path: Path) -> None:
    times = [0.0, 0.06, 0.13, 0.18, 0.26, 0.9, 0.96]
    write_video(tmp_path / "a.webm", greys(7), times=times, codec="libvpx", pixels="yuv420p")
    shown, read, said = watched(without_rate(tmp_path / "a.webm"))
    assert (shown, read, said) == (list(range(7)), [pytest.approx(time, abs=1.1e-3) for time in times], [])
    with open_film(tmp_path / "a.webm") as film:
        assert film.look.rate is None


# Damage


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (96, 128, 3)).astype(np.uint8) for _ in range(12)]
    write_video(tmp_path / "a.mp4", pictures, pixels="yuv420p", options={"crf": "18", "bf": "0", "g": "32"})
    assert len(read_video(tmp_path / "a.mp4").frames) == 12
    break_frames(tmp_path / "a.mp4", 5, 9)
    with pytest.raises(DataError, match="its frame 5 is damaged"):
        read_video(tmp_path / "a.mp4")


def cut_off(path: Path, frames: int, rest: float) -> Path:
    """An mp4 of 24 frames whose index comes first, and of which so many are there, and a part of the next."""
    source = write_video(path.with_suffix(".all.mp4"), greys(24), options={**LOSSLESS, "g": "1"})
    with av.open(str(source)) as found, av.open(str(path), "w", options={"movflags": "+faststart"}) as output:
        stream = output.add_stream_from_template(found.streams.video[0])
        for packet in found.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    with av.open(str(path)) as whole:
        places = [(packet.pos, packet.size) for packet in whole.demux(video=0) if packet.size]
    at, size = places[frames]
    path.write_bytes(path.read_bytes()[: at + int(rest * size)])
    return path


def test_a_download_that_stopped_inside_a_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.mp4 cannot be decoded after 10 frames: .*; get the file again"):
        read_video(cut_off(tmp_path / "a.mp4", 10, 0.5))


def test_a_download_that_stopped_between_two_frames_is_said_to(tmp_path: Path) -> None:
    shown, _, said = watched(cut_off(tmp_path / "a.mp4", 10, 0))
    assert (shown, said) == (list(range(10)), ["a part of its file is missing (0.625 of 1.5 s are there)"])


def test_a_transport_stream_in_which_data_is_missing_is_refused(tmp_path: Path) -> None:
    pictures = [np.roll(corners(64, 96), 3 * number, 1) for number in range(30)]
    write_video(tmp_path / "a.ts", pictures, 25, pixels="yuv420p", options={"g": "100", "bf": "2"})
    assert watched(tmp_path / "a.ts")[2] == []
    content, packet = (tmp_path / "a.ts").read_bytes(), 188
    hole = len(content) // packet // 2 * packet
    (tmp_path / "a.ts").write_bytes(content[:hole] + content[hole + 3 * packet :])
    with pytest.raises(DataError, match=r"data is missing in its file near frame \d+|its frame \d+ is damaged"):
        read_video(tmp_path / "a.ts")


# Pixels


def test_ten_bits_are_brought_to_eight_within_half_a_level(tmp_path: Path) -> None:
    levels = np.linspace(64, 940, 64).round().astype(np.uint16)
    write_frames(tmp_path / "a.mkv", [deep_grey(np.repeat(levels[None], 64, 0))], colorspace=1, color_range=1)
    want = torch.from_numpy((levels.astype(np.float64) - 64) / 876 * 255)
    assert (read_video(tmp_path / "a.mkv").frames[0, ..., 0] - want).abs().max() <= 0.51


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_shown_as_a_standard_screen_would(tmp_path: Path, transfer: int) -> None:
    # The codes of 203 nits and of 18 % of it: PQ 0.5807 and 0.4109; HLG 0.75 and 0.4361 (1000 · E^1.2 nits).
    white, middle = {16: (0.5807, 0.4109), 18: (0.75, 0.4361)}[transfer]
    levels = np.full((64, 64), round(64 + 876 * white), np.uint16)
    levels[:, 32:] = round(64 + 876 * middle)
    path = write_frames(
        tmp_path / "a.mkv", [deep_grey(levels)], color_trc=transfer, colorspace=9, color_primaries=9, color_range=1
    )
    _, _, said = watched(path)
    frame = read_video(path).frames[0]
    assert int(frame[0, 0, 0]) == pytest.approx(230, abs=2)
    assert int(frame[0, 63, 0]) == pytest.approx(125, abs=2)
    assert said == [f"tone-mapped from HDR ({'PQ' if transfer == 16 else 'HLG'}) to SDR"]


def test_what_is_transparent_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[..., :3] = np.random.default_rng(0).integers(0, 255, (32, 32, 3))
    pixels[8:24, 8:24] = (0, 200, 0, 255)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="bgra")
    _, _, said = watched(write_frames(tmp_path / "a.mkv", [frame]))
    shown = read_video(tmp_path / "a.mkv").frames[0]
    assert shown[0, 0].tolist() == [255, 255, 255]
    assert shown[16, 16].tolist() == [0, 200, 0]
    assert said == ["transparent parts laid on white"]


def combs(frame: torch.Tensor) -> int:
    """How much neighbouring lines differ, next to lines that are two apart."""
    rows = frame[..., 0].float()
    return round(float((rows[1:-1] - (rows[:-2] + rows[2:]) / 2).abs().mean()))


def test_interlaced_frames_are_deinterlaced(tmp_path: Path) -> None:
    pictures = []
    for number in range(8):
        picture = grey(0, 64, 64)
        for field in (0, 1):
            at = (2 * number + field) * 3 % 56
            picture[field::2, at : at + 8] = 255
        pictures.append(picture)
    options = {"qp": "0", "flags": "+ildct+ilme", "x264-params": "tff=1"}
    write_video(tmp_path / "a.mp4", pictures, 25, pixels="yuv420p", options=options)
    shown, times, said = watched(tmp_path / "a.mp4")
    assert (len(shown), times, said) == (8, every(1 / 25, 8), ["deinterlaced"])
    assert combs(torch.from_numpy(pictures[3])) > 10
    assert combs(read_video(tmp_path / "a.mp4").frames[3]) < 3


def test_an_odd_size_keeps_its_pixels(tmp_path: Path) -> None:
    picture = grey(0, 47, 33)
    picture[:, :16] = (255, 0, 0)
    write_video(tmp_path / "a.mp4", [picture] * 2)
    assert (read_video(tmp_path / "a.mp4").frames[0].int() - torch.from_numpy(picture).int()).abs().max() <= 3


# Files


@pytest.mark.parametrize(
    "name", [b"ma\xf1ana.mp4", b"100%d.mp4", b"a[1].mp4", b"b*.mp4", b"q?.mp4", b"new\nline.mp4", b"-a.mp4"]
)
def test_no_name_is_a_pattern_or_has_to_be_utf_8(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    write_video(tmp_path / "a.mp4", greys(4)).rename(path)
    assert numbers(read_video(path).frames) == [0, 1, 2, 3]


def test_texts_inside_a_file_need_not_be_utf_8(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        output.metadata["title"] = "manana"
        stream = output.add_stream("ffv1", rate=16)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "bgr0"
        for picture in greys(2):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    content = (tmp_path / "a.mkv").read_bytes()
    assert b"manana" in content
    (tmp_path / "a.mkv").write_bytes(content.replace(b"manana", b"ma\xf1ana"))
    assert numbers(read_video(tmp_path / "a.mkv").frames) == [0, 1]


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(DataError, match="it is empty"):
        read_video(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "suffix", [".ts", ".mts", ".mkv", ".mov", ".3gp", ".avi", ".flv", ".wmv", ".mxf", ".webm", ".mpg"]
)
def test_what_phones_cameras_and_downloaders_write_is_read(tmp_path: Path, suffix: str) -> None:
    codecs = {
        ".wmv": "wmv2",
        ".flv": "flv",
        ".mxf": "mpeg2video",
        ".webm": "libvpx",
        ".mpg": "mpeg2video",
        ".3gp": "mpeg4",
    }
    codec = codecs.get(suffix, "libx264")
    path = tmp_path / f"a{suffix}"
    write_video(path, greys(9, 64, 64), 25, codec=codec, pixels="yuv420p", container={".mpg": "mpeg"}.get(suffix))
    shown, times, _ = watched(path)
    assert (shown, times) == (list(range(9)), every(1 / 25, 9))
