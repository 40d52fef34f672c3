"""Picture files through Pillow: stills and animations (GIF, WebP, APNG, AVIF), upright, opaque, 8-bit RGB.

H W pixel rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

from distill_core.errors import DataError
from distill_core.video.film import Changes, Film, TimedFrame
from distill_core.video.looking import Look, Turn
from distill_core.video.showing import on_background

STILL_DURATION = 1 / 25
"""Seconds that a picture is shown, where it is a clip of one frame."""
UNSTATED_DURATION = 0.1
"""Seconds of an animation's frame that states none, as browsers have it."""
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""What a file may hold, whatever its suffix says; nothing that is a program, as PostScript is."""
_ANIMATED = frozenset({"AVIF", "GIF", "PNG", "WEBP"})
"""Formats in which further pictures are further frames, not pages or previews."""
_ORIENTATION = 0x0112
_TURNS = {
    2: Turn(0, mirrored=True),
    3: Turn(2),
    4: Turn(2, mirrored=True),
    5: Turn(3, mirrored=True),
    6: Turn(3),
    7: Turn(1, mirrored=True),
    8: Turn(1),
}
"""By EXIF's orientation; used for its words, Pillow turns."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises for files that it cannot make sense of."""


@contextmanager
def open_picture(path: Path) -> Iterator[Film]:
    """A picture file as a film. Raises DataError, here or where its frames are taken, if it cannot be read."""
    with ExitStack() as opened:
        changes = Changes()
        try:
            image = opened.enter_context(Image.open(opened.enter_context(path.open("rb")), formats=_FORMATS))
            several = _has_second(image)
        except _BROKEN as error:
            raise _unreadable(path, error) from error
        animated = several and image.format in _ANIMATED
        if several and not animated:
            changes.say("the first of several pictures in its file")
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1), Turn())  # before it is loaded: Pillow turns a TIFF then
        if turn.words:
            changes.say(turn.words)
        yield Film(Look(still=not animated, turn=turn), _frames(image, path, animated, changes), changes)


def _unreadable(path: Path, error: Exception, where: str = "") -> DataError:
    """The error of a file that Pillow makes no sense of."""
    reason = str(error)
    if isinstance(error, UnidentifiedImageError):
        reason = "its content is no picture that is known" if path.stat().st_size else "it is empty"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    return DataError(f"{path} cannot be read as a picture{where}: {reason}")


def _has_second(image: Image.Image) -> bool:
    """Whether there is a picture after the first."""
    try:
        image.seek(1)
    except EOFError:
        return False
    image.seek(0)
    return True


def _frames(image: Image.Image, path: Path, animated: bool, changes: Changes) -> Iterator[TimedFrame]:
    """The pictures that are shown, one after another."""
    time = 0.0
    for number, frame in enumerate(ImageSequence.Iterator(image)):
        try:
            frame.load()
        except _BROKEN as error:
            raise _unreadable(path, error, f" at frame {number}" if number else "") from error
        # The next frame is drawn into this one: its pixels cannot wait.
        pixels = _pixels(frame, changes)
        if not animated:
            yield TimedFrame(0, 0.0, STILL_DURATION, partial(_same, pixels))
            return
        duration = float(frame.info.get("duration", 0)) / 1000
        if not duration:
            duration = UNSTATED_DURATION
            changes.say(f"frames that state no time are shown for {UNSTATED_DURATION:g} s")
        yield TimedFrame(number, time, duration, partial(_same, pixels))
        time += duration


def _same(pixels_HW3: Tensor) -> Tensor:
    """Pixels that are made already."""
    return pixels_HW3


def _pixels(image: Image.Image, changes: Changes) -> Tensor:
    """A picture as it is shown, uint8 [H, W, 3]. Raises DataError for kinds of pixels that have no colours."""
    shown = ImageOps.exif_transpose(_in_srgb(image, changes))
    if shown.mode in ("F", "I"):
        raise DataError("its pixels are not levels of 8 or 16 bits; save it as a PNG of 8 bits")
    if shown.mode.startswith("I;16"):
        levels_HW = np.asarray(shown).astype(np.float32) / 257
        return torch.from_numpy(levels_HW).round().to(torch.uint8)[..., None].expand(-1, -1, 3).contiguous()
    if shown.mode in ("CMYK", "LAB"):
        changes.say(f"colours taken from {shown.mode}, without its profile")
    if shown.has_transparency_data:
        return on_background(_array(shown.convert("RGBA")), changes)
    return _array(shown.convert("RGB"))


def _array(image: Image.Image) -> Tensor:
    """The bytes of a picture, [H, W, channels]."""
    return torch.from_numpy(np.array(image))


def _in_srgb(image: Image.Image, changes: Changes) -> Image.Image:
    """The picture in sRGB, whatever its colour profile; where that cannot be applied it is said, and its colours are taken as sRGB."""
    stated = image.info.get("icc_profile")
    if not stated:
        return image
    name = "unreadable"
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(stated))
        name = ImageCms.getProfileName(profile).strip()
        if "srgb" in name.lower():
            return image
        mode = "RGBA" if image.has_transparency_data else "RGB"
        plain = image.convert(mode) if image.mode in ("P", "PA", "LA", "RGB", "RGBA") else image
        shown = ImageCms.profileToProfile(plain, profile, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        shown = None
    if shown is None:
        changes.say(f"its colours are taken as sRGB (its profile is {name})")
        return image
    changes.say(f"its colours are made sRGB (its profile is {name})")
    return shown
