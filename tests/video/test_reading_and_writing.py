"""distill_core.video: what is written comes back, and what cannot be read is refused by name."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from distill_core.errors import DataError
from distill_core.video.reading import open_film, read_video
from distill_core.video.writing import write_mp4


def moving_ramp(frames: int = 9, height: int = 32, width: int = 48) -> Tensor:
    """A smooth picture in three colours that moves; uint8 [F, H, W, 3]."""
    time, row, column = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([4 * row + 8 * time, 5 * column, 255 - 4 * row], dim=-1).clamp(0, 255).to(torch.uint8)


def difference(one: Tensor, other: Tensor) -> float:
    """Mean absolute difference, in steps of 8 bits."""
    return float((one.float() - other.float()).abs().mean())


def test_frames_come_back_from_an_mp4_almost_unchanged(tmp_path: Path) -> None:
    frames = moving_ramp()
    write_mp4(tmp_path / "a.mp4", frames, fps=16)
    video = read_video(tmp_path / "a.mp4")
    assert video.frames.shape == frames.shape
    assert video.frames.dtype == torch.uint8
    assert video.fps == 16
    assert difference(video.frames, frames) < 3


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (128, 128, 128)])
def test_colours_keep_their_hue(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    frames = torch.tensor(colour, dtype=torch.uint8).expand(3, 16, 16, 3)
    write_mp4(tmp_path / "a.mp4", frames, fps=8)
    assert (read_video(tmp_path / "a.mp4").frames.int() - frames.int()).abs().max() <= 3


def test_the_same_frames_give_the_same_bytes_and_leave_nothing_beside(tmp_path: Path) -> None:
    write_mp4(tmp_path / "deep" / "a.mp4", moving_ramp(), fps=16)
    write_mp4(tmp_path / "deep" / "b.mp4", moving_ramp(), fps=16)
    assert (tmp_path / "deep" / "a.mp4").read_bytes() == (tmp_path / "deep" / "b.mp4").read_bytes()
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.mp4", "b.mp4"]


def test_the_file_is_h264_in_yuv420p_and_says_that_its_colours_are_bt709(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", moving_ramp(), fps=16)
    with av.open(str(tmp_path / "a.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.colorspace, codec.color_range) == ("h264", "yuv420p", 1, 1)


def test_an_odd_size_is_padded_with_a_copy_of_its_edge(tmp_path: Path) -> None:
    frames = moving_ramp(height=31, width=47)
    write_mp4(tmp_path / "a.mp4", frames, fps=16)
    read = read_video(tmp_path / "a.mp4").frames
    assert read.shape == (9, 32, 48, 3)
    assert difference(read[:, :31, :47], frames) < 3
    assert difference(read[:, 31, :47], frames[:, 30]) < 6


@pytest.mark.parametrize("fps", [24000 / 1001, 23.976, 12.5, 60])
def test_a_rate_comes_back_exactly(tmp_path: Path, fps: float) -> None:
    write_mp4(tmp_path / "a.mp4", moving_ramp(), fps=fps)
    assert read_video(tmp_path / "a.mp4").fps == fps


def test_frames_are_timed_in_seconds(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", moving_ramp(frames=4), fps=8)
    with open_film(tmp_path / "a.mp4") as film:
        assert [(frame.time, frame.duration) for frame in film.frames] == [(number / 8, 1 / 8) for number in range(4)]


def test_a_video_that_is_stored_lying_down_is_set_upright(tmp_path: Path) -> None:
    upright = moving_ramp(height=32, width=48)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = 48, 32, "yuv420p"
        stream.set_display_rotation(90)
        for pixels in torch.rot90(upright, -1, dims=(1, 2)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.contiguous().numpy(), format="rgb24")))
        container.mux(stream.encode())
    read = read_video(tmp_path / "a.mp4").frames
    assert read.shape == upright.shape
    assert difference(read, upright) < 4


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_is_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    picture = moving_ramp(frames=1)
    av.VideoFrame.from_ndarray(picture[0].numpy(), format="rgb24").save(tmp_path / f"a{suffix}")
    read = read_video(tmp_path / f"a{suffix}").frames
    assert read.shape == picture.shape
    assert difference(read, picture) < 4


def test_a_file_that_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video at all")
    with pytest.raises(DataError, match=r"a\.mp4 cannot be read as a video"):
        read_video(tmp_path / "a.mp4")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.mp4 cannot be read as a video: No such file"):
        read_video(tmp_path / "gone.mp4")


def test_a_video_that_is_damaged_inside_is_refused_by_name(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", torch.randint(0, 255, (17, 64, 64, 3), dtype=torch.uint8), fps=16)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mp4 cannot be decoded"):
        read_video(tmp_path / "a.mp4")
