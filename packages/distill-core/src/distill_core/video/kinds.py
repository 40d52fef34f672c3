"""Which files are taken for videos and for pictures, by their suffix. Opens none."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_VIDEO_KINDS = """
    264 265 3g2 3gp asf avi divx dv f4v flv h264 h265 hevc ivf m1v m2p m2t m2ts m2v m4v mjpeg mjpg mkv mod mov mp4 mpe mpeg mpg mts mxf
    nut ogm ogv qt rm rmvb tod ts vob webm wmv y4m
"""
_PICTURE_KINDS = "apng avif bmp dib gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tga tif tiff webp"

VIDEO_SUFFIXES = frozenset(f".{kind}" for kind in _VIDEO_KINDS.split())
PICTURE_SUFFIXES = frozenset(f".{kind}" for kind in _PICTURE_KINDS.split())
"""Animations among them are clips; all others are clips of one frame."""

Kind = Literal["video", "picture"]


def kind_of(path: Path) -> Kind | None:
    """What a file is taken for; None for what is neither."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "picture" if suffix in PICTURE_SUFFIXES else None
