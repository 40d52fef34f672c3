"""Videos and pictures as phones, recorders and networks leave them, and what becomes of them. Printed by tools/data_cases.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
from PIL import Image
from tests.data.cases import Case, Topic, told
from tests.data.tiny_encoding import encode_folder
from tests.video.small_videos import (
    LOSSLESS,
    Picture,
    break_frames,
    corners,
    deep_grey,
    grey,
    greys,
    joined,
    remuxed,
    with_cover,
    without_rate,
    write_frames,
    write_video,
)

from distill_core.errors import DistillError


@dataclass(frozen=True)
class VideoCase(Case):
    """One folder of videos.

    Attributes:
        options: those that are given to `distill data encode`.
        room: the bytes that a clip may take; None leaves it to the machine.
    """

    options: Mapping[str, object] = field(default_factory=dict)
    room: int | None = None


def captioned(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """The same with a caption beside each file."""

    def write(folder: Path) -> None:
        folder.mkdir()
        make(folder)
        for path in sorted(folder.iterdir()):
            if path.is_file():
                path.with_suffix(".txt").write_text("a red square")

    return write


def timed(name: str, *times: float) -> Callable[[Path], None]:
    """A video of a frame at each of these times."""
    return captioned(lambda folder: write_video(folder / name, greys(len(times)), times=times))


def even(interval: float, count: int, start: float = 0) -> list[float]:
    return [start + number * interval for number in range(count)]


SCREEN = (*even(1 / 16, 17), *even(2 / 7, 7, 1 + 2 / 7))
MIRRORED = (0, 1 << 16, 0, 1 << 16, 0, 0, 0, 0, 1 << 30)
"""A display matrix that swaps rows and columns."""


def interlaced(folder: Path) -> None:
    options = {"qp": "0", "flags": "+ildct+ilme", "x264-params": "tff=1"}
    write_video(folder / "tv.mp4", greys(9, 64, 64), 25, pixels="yuv420p", options=options)


def hdr(transfer: int) -> Callable[[Path], None]:
    """A video of high dynamic range."""
    frames = [deep_grey(np.full((64, 64), 572, np.uint16))] * 5
    colours = {"color_trc": transfer, "colorspace": 9, "color_primaries": 9, "color_range": 1}
    return captioned(lambda folder: write_frames(folder / "phone.mkv", frames, **colours))


def exif(folder: Path) -> None:
    for orientation in (2, 6):
        tags = Image.Exif()
        tags[0x0112] = orientation
        Image.fromarray(corners()).save(folder / f"exif-{orientation}.jpg", exif=tags)


def transparent(folder: Path) -> None:
    Image.new("RGBA", (32, 32), (0, 200, 0, 0)).save(folder / "cutout.png")


def animations(folder: Path) -> None:
    first, *rest = map(Image.fromarray, greys(9))
    for suffix in ("webp", "gif", "apng"):
        format_name = {"apng": "PNG"}.get(suffix, suffix)
        first.save(
            folder / f"loop.{suffix}", format_name, save_all=True, append_images=rest, duration=100, lossless=True
        )


def odd_pictures(folder: Path) -> None:
    picture = Image.new("RGB", (32, 32), (200, 60, 20))
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.save(folder / "really-png.jpg", "PNG")
    Image.fromarray(np.full((32, 32), 40000, np.uint16)).save(folder / "deep.png")
    picture.save(folder / "pages.tiff", save_all=True, append_images=[picture])


def names(folder: Path) -> None:
    source = write_video(folder / "a.mp4", greys(5))
    for name in (b"100%d.mp4", b"a[1].mp4", b"b*.mp4", b"ma\xf1ana.mp4", "🐈.MP4".encode()):
        (folder / os.fsdecode(name)).write_bytes(source.read_bytes())
    source.unlink()


def links(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir()
    write_video(elsewhere / "b.mp4", greys(5))
    (elsewhere / "b.txt").write_text("a red square")
    (folder / "more").symlink_to(elsewhere, target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "gone.mp4").symlink_to("nowhere.mp4")


def kinds(folder: Path) -> None:
    for name, codec in {
        "a.ts": "libx264",
        "b.flv": "flv",
        "c.wmv": "wmv2",
        "d.3gp": "mpeg4",
        "e.mxf": "mpeg2video",
    }.items():
        write_video(folder / name, greys(5, 64, 64), 25, codec=codec, pixels="yuv420p")
    for name, format_name in {"f.tiff": "TIFF", "g.jfif": "JPEG", "h.avif": "AVIF"}.items():
        Image.fromarray(grey(90)).save(folder / name, format_name)


def others(folder: Path) -> None:
    write_video(folder / "a.mp4", greys(5))
    for name in ("b.heic", "c.psd", "_raw/d.mp4", ".trash/e.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def no_videos(folder: Path) -> None:
    write_video(folder / "good.mp4", greys(5))
    (folder / "empty.mp4").touch()
    (folder / "page.mp4").write_text("<html>404</html>")
    (folder / "folder.mp4").mkdir()
    with av.open(str(folder / "sound.mp4"), "w") as output:
        stream = output.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        output.mux(stream.encode(frame))
        output.mux(stream.encode())


def damaged(folder: Path) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (96, 128, 3)).astype(np.uint8) for _ in range(12)]
    write_video(folder / "bad.mp4", pictures, pixels="yuv420p", options={"crf": "18", "bf": "0", "g": "32"})
    break_frames(folder / "bad.mp4", 5, 9)


def stopped_download(folder: Path) -> None:
    source = write_video(folder / "all.ts", greys(24), options={**LOSSLESS, "g": "1"})
    half = remuxed(folder / "half.mp4", source, even(1 / 16, 24), options={"movflags": "+faststart"})
    source.unlink()
    with av.open(str(half)) as whole:
        places = [(packet.pos, packet.size) for packet in whole.demux(video=0) if packet.size]
    content = half.read_bytes()
    at, size = places[10]
    half.write_bytes(content[:at])
    (folder / "inside.mp4").write_bytes(content[: at + size // 2])


def parts(*sizes: tuple[int, int]) -> Callable[[Path], None]:
    """Recordings of these heights and widths in one file."""

    def write(folder: Path) -> None:
        made = [write_video(folder / f"{number}.ts", greys(9, *size, 9 * number)) for number, size in enumerate(sizes)]
        joined(folder / "joined.mpg", *made)

    return captioned(write)


def browser(folder: Path) -> None:
    times = [0.0, 0.06, 0.13, 0.18, 0.26, 0.9, 0.96, 1.01, 1.08]
    write_video(folder / "chrome.webm", greys(9), times=times, codec="libvpx", pixels="yuv420p")
    without_rate(folder / "chrome.webm")


def shown_later(folder: Path) -> None:
    write_video(folder / "hour.mkv", greys(9), times=even(1 / 16, 9, 3600))
    source = write_video(folder / "source.mp4", greys(9))
    remuxed(folder / "minus.nut", source, even(1 / 16, 9, -0.25))
    source.unlink()


def pixels_of(aspect: Fraction) -> Callable[[Path], None]:
    """A video whose pixels are so many times as wide as high."""
    return captioned(lambda folder: write_video(folder / "dvd.mp4", greys(5, 64, 64), aspect=aspect))


def song(pictures: list[Picture]) -> Callable[[Path], None]:
    """A file of cover art, and of these pictures."""
    return captioned(lambda folder: with_cover(folder / "song.mp4", pictures))


def one(name: str, **options: object) -> Callable[[Path], None]:
    """A video that has nothing special but these options."""
    return captioned(lambda folder: write_video(folder / name, [corners()] * 5, **options))


CASES = (
    VideoCase(
        "a phone's video, turned and mirrored",
        one("phone.mp4", matrix=MIRRORED),
        r"encoded, turned 90° clockwise and mirrored",
    ),
    VideoCase(
        "EXIF orientations 2 and 6",
        captioned(exif),
        r"exif-2\.jpg: encoded, mirrored; exif-6\.jpg: encoded, turned 90° clockwise$",
    ),
    VideoCase(
        "pixels of 2:1", pixels_of(Fraction(2)), r"encoded, stretched to square pixels \(from 64x64 to 128x64\)$"
    ),
    VideoCase("HDR10 (PQ)", hdr(16), r"encoded, tone-mapped from HDR \(PQ\) to SDR$"),
    VideoCase("HLG", hdr(18), r"encoded, tone-mapped from HDR \(HLG\) to SDR$"),
    VideoCase(
        "HDR10, `--hdr refuse`",
        hdr(16),
        r"it is HDR \(PQ\), and --hdr refuse was given; --hdr tone-map",
        {"hdr": "refuse"},
    ),
    VideoCase("interlaced", captioned(interlaced), r"encoded, deinterlaced$"),
    VideoCase("a transparent picture", captioned(transparent), r"encoded, transparent parts laid on white$"),
    VideoCase("animated WebP, GIF, APNG", captioned(animations), r"^(loop\.\w+: encoded(; )?){3}$", {"num_frames": 9}),
    VideoCase(
        "CMYK, PNG named .jpg, 16 bits, pages",
        captioned(odd_pictures),
        r"cmyk.*CMYK.*deep.*encoded; pages.*first of several.*png\.jpg: encoded$",
    ),
    VideoCase(
        "a screen recording of a variable rate",
        timed("screen.mp4", *SCREEN),
        r"encoded, its frame rate varies; --fps F makes it even \(.*\), trimmed from 24 to 21 frames$",
    ),
    VideoCase(
        "the same, `--fps 8`, its average",
        timed("screen.mp4", *SCREEN),
        r"encoded, resampled .* to 8 frames per second",
        {"fps": 8, "num_frames": 21},
    ),
    VideoCase(
        "a header that states another rate",
        timed("a.mkv", *even(1 / 8, 9)),
        r"encoded, its frames come at 8 per second \(its header says 16\)$",
    ),
    VideoCase(
        "a browser's webm without a rate, `--fps 8`",
        captioned(browser),
        r"encoded, resampled by time stamps to 8 frames per second",
        {"fps": 8},
    ),
    VideoCase(
        "time stamps from an hour on, and below 0",
        captioned(shown_later),
        r"^hour\.mkv: encoded; minus\.nut: encoded",
        {"fps": 16},
    ),
    VideoCase(
        "two recordings joined by `cat`, `--fps 8`",
        parts((64, 64), (64, 64)),
        r"encoded, .*its clock goes back",
        {"fps": 8},
    ),
    VideoCase(
        "a gap of half a minute, `--fps 8`",
        timed("a.mkv", *even(1 / 8, 9), 30.0),
        r"its frame 8 is shown for 29 s, and 10 s is the longest",
        {"fps": 8},
    ),
    VideoCase(
        "a size that changes",
        parts((64, 64), (32, 48)),
        r"its size changes \(from 64x64 to 48x32 at frame 9\); set --height",
    ),
    VideoCase(
        "the same, `--height 32 --width 32`",
        parts((64, 64), (32, 48)),
        r"encoded, .*frames of several sizes, each scaled",
        {"height": 32, "width": 32},
    ),
    VideoCase("damaged frames", captioned(damaged), r"its frame 5 is damaged"),
    VideoCase(
        "downloads that stopped",
        captioned(stopped_download),
        r"half\.mp4: encoded, a part of its file is missing .*; skipped inside\.mp4: cannot be decoded after 10 frames",
    ),
    VideoCase(
        "a clip longer than memory allows",
        timed("long.mp4", *even(1 / 16, 25)),
        r"its 25 frames of 32x32 pixels are .* ask for fewer with --num-frames",
        room=60_000,
    ),
    VideoCase("a video with cover art", song(greys(5)), r"^song\.mp4: encoded$"),
    VideoCase("cover art alone", song([]), r"has no video stream but cover art"),
    VideoCase(
        "no videos",
        captioned(no_videos),
        r"^good\.mp4: encoded; .*empty\.mp4: .* empty; .*page\.mp4: .*; .*sound\.mp4: has no video stream; .*folder\.mp4/",
    ),
    VideoCase("names with patterns, not in UTF-8, of emoji", captioned(names), r"^([^;]*: encoded(; )?){5}$"),
    VideoCase("kinds of all sorts of devices", captioned(kinds), r"^([^;]*: encoded(; )?){8}$"),
    VideoCase(
        "links",
        captioned(links),
        r"^more/b\.mp4: encoded; .*gone\.mp4: it is a link to nowhere\.mp4.*; skipped round/: it is a link to a folder",
    ),
    VideoCase(
        "files of other kinds, hidden folders",
        captioned(others),
        r"^a\.mp4: encoded; .*\.heic is no kind.*\.psd is no kind.*\.trash/: .*_raw/: .* hidden$",
    ),
)


def outcome(case: Case, root: Path) -> str:
    """The clips that are encoded, with what was done to them, and why others are not."""
    assert isinstance(case, VideoCase)
    folder = root / "given"
    case.make(folder)
    room = patch("distill_core.data.encoding.clips.room_for_a_clip", lambda: case.room or 1 << 30)
    try:
        with room:
            fates = encode_folder(folder, root / "out", **case.options)
    except DistillError as error:
        return told(str(error), folder)
    kept = [f"{fate.name}: {', '.join(('encoded', *fate.changes))}" for fate in fates if fate.encoded]
    skipped = [f"skipped {fate.name}: {fate.reason}" for fate in fates if not fate.encoded]
    return told("; ".join(kept + skipped), folder)


TOPIC = Topic("Videos and pictures", CASES, outcome)
