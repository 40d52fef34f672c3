"""distill_core.video.pictures: stills and animations in their right colours, upright and opaque."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from tests.video.small_videos import Picture, corners, greys, numbers

from distill_core.errors import DataError
from distill_core.video.reading import open_film, read_video

UNDO = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: lambda a: np.rot90(a, -1),
}
"""From a picture as it is shown to how it is stored under each EXIF orientation."""


def said(path: Path) -> list[str]:
    with open_film(path) as film:
        list(film.frames)
        return list(film.changes)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", UNDO)
def test_a_picture_is_shown_as_its_exif_says(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}
    picture = Image.fromarray(np.ascontiguousarray(UNDO[orientation](corners())))
    picture.save(tmp_path / f"a.{suffix}", exif=exif, **options.get(suffix, {}))
    (shown,) = read_video(tmp_path / f"a.{suffix}").frames
    assert shown.shape == (32, 64, 3)
    for y, x in ((4, 4), (4, 60), (28, 4), (28, 60)):
        assert (shown[y, x].int() - torch.from_numpy(corners()[y, x]).int()).abs().max() < 12
    words = {
        6: ["turned 90° clockwise"],
        8: ["turned 90° counterclockwise"],
        3: ["turned by 180°"],
        2: ["mirrored"],
        1: [],
    }
    assert said(tmp_path / f"a.{suffix}") == words.get(orientation, said(tmp_path / f"a.{suffix}"))


def test_what_is_transparent_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[..., :3] = np.random.default_rng(0).integers(0, 255, (32, 32, 3))
    pixels[8:24, 8:24] = (0, 200, 0, 255)
    pixels[0, 0] = (0, 0, 0, 128)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    (shown,) = read_video(tmp_path / "a.png").frames
    assert [shown[0, 0].tolist(), shown[0, 1].tolist(), shown[16, 16].tolist()] == [[127] * 3, [255] * 3, [0, 200, 0]]
    assert said(tmp_path / "a.png") == ["transparent parts laid on white"]


def animation(path: Path, pictures: list[Picture], **options: object) -> Path:
    first, *rest = map(Image.fromarray, pictures)
    first.save(path, save_all=True, append_images=rest, **options)
    return path


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "apng", "avif"])
def test_an_animation_is_a_clip_with_its_own_times(tmp_path: Path, suffix: str) -> None:
    options = {"webp": {"lossless": True}, "apng": {"format": "PNG"}, "avif": {"quality": 95}}
    path = animation(tmp_path / f"a.{suffix}", greys(5), duration=[100, 200, 100, 50, 300], **options.get(suffix, {}))
    with open_film(path) as film:
        frames = list(film.frames)
        assert not film.look.still
    assert numbers(frame.pixels for frame in frames) == [0, 1, 2, 3, 4]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.3, 0.4, 0.45])
    assert frames[-1].duration == pytest.approx(0.3)


def test_frames_of_an_animation_that_state_no_time_get_one_and_are_said_to(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.gif", greys(3), duration=0)
    with open_film(path) as film:
        assert [frame.time for frame in film.frames] == pytest.approx([0, 0.1, 0.2])
        assert list(film.changes) == ["frames that state no time are shown for 0.1 s"]


def test_what_a_frame_of_an_animation_does_not_draw_stays_what_it_was(tmp_path: Path) -> None:
    pictures = []
    for number in range(4):
        picture = np.full((32, 32, 3), (200, 30, 30), np.uint8)
        picture[8:24, 3 * number : 3 * number + 6] = (30, 200, 30)
        pictures.append(picture)
    path = animation(tmp_path / "a.gif", pictures, duration=100, optimize=True)
    assert (read_video(path).frames.int() - torch.from_numpy(np.stack(pictures)).int()).abs().max() <= 2


def test_pages_are_no_animation(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.tiff", greys(3))
    with open_film(path) as film:
        assert film.look.still
    assert numbers(read_video(path).frames) == [0]
    assert said(path) == ["the first of several pictures in its file"]


COLOUR = (200, 60, 20)


@pytest.mark.parametrize(
    ("name", "mode", "options", "colour"),
    [
        ("a.jpg", "CMYK", {"quality": 95}, COLOUR),
        ("a.jpg", "RGB", {"format": "PNG"}, COLOUR),
        ("a.png", "RGB", {"format": "WEBP", "lossless": True}, COLOUR),
        ("a.png", "P", {}, COLOUR),
        ("a.jfif", "RGB", {"format": "JPEG", "quality": 95}, COLOUR),
        ("a.avif", "RGB", {"quality": 95}, COLOUR),
        ("a.bmp", "RGB", {}, COLOUR),
        ("a.png", "1", {}, (255, 255, 255)),
        ("a.jpg", "L", {"quality": 95}, (97, 97, 97)),
    ],
)
def test_odd_pictures_come_out_in_their_colours(
    tmp_path: Path, name: str, mode: str, options: dict[str, object], colour: tuple[int, int, int]
) -> None:
    picture = Image.new("RGB", (32, 32), COLOUR if mode != "1" else (255, 255, 255))
    (picture.quantize(16) if mode == "P" else picture.convert(mode)).save(tmp_path / name, **options)
    (shown,) = read_video(tmp_path / name).frames
    assert (shown.int() - torch.tensor(colour)).abs().max() <= 3


def test_sixteen_bits_of_grey_are_brought_to_eight(tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32), 40000, np.uint16)).save(tmp_path / "a.png")
    assert read_video(tmp_path / "a.png").frames.unique().tolist() == [156]  # 40000 / 257 = 155.6


def test_pixels_that_are_no_colours_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32), 0.5, np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="its pixels are not levels of 8 or 16 bits"):
        read_video(tmp_path / "a.tiff")


@pytest.mark.parametrize("name", ["100%d.png", "shot%03d.png", "a[1].png", "b*.png", "q?.png"])
def test_no_name_is_a_pattern(tmp_path: Path, name: str) -> None:
    Image.fromarray(greys(4)[3]).save(tmp_path / name)
    assert numbers(read_video(tmp_path / name).frames) == [3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>404</html>", "its content is no picture that is known"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n",
            "its content is no picture that is known",
        ),
        (None, "No such file"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.png cannot be read as a picture: {reason}"):
        read_video(tmp_path / "a.png")


def test_a_picture_that_is_cut_off_is_refused_by_name(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.jpg cannot be read as a picture: .*truncated"):
        read_video(tmp_path / "a.jpg")


def swapped_primaries() -> bytes:
    """The profile of a device whose red is the green of sRGB and the other way round: two entries of its table of tags change places."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = content.index(b"rXYZ"), content.index(b"gXYZ")
    content[red + 4 : red + 12], content[green + 4 : green + 12] = (
        content[green + 4 : green + 12],
        content[red + 4 : red + 12],
    )
    return bytes(content).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_a_colour_profile_is_applied_and_told(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGB", (8, 8), (255, 0, 0)).convert(mode)
    picture.save(tmp_path / "a.png", icc_profile=swapped_primaries())
    (shown,) = read_video(tmp_path / "a.png").frames
    assert shown[4, 4].tolist() == pytest.approx([0, 255, 0], abs=2)
    assert said(tmp_path / "a.png") == ["its colours are made sRGB (its profile is swap built-in)"]


def test_a_colour_profile_that_cannot_be_applied_is_said(tmp_path: Path) -> None:
    for kind, words in (
        ("sRGB", []),
        ("XYZ", ["its colours are taken as sRGB (its profile is XYZ identity built-in)"]),
    ):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(kind))
        Image.fromarray(greys(4)[3]).save(tmp_path / "a.png", icc_profile=profile.tobytes())
        assert said(tmp_path / "a.png") == words
