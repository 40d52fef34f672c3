"""By what files are decoded: what the same file may come out otherwise with."""

from __future__ import annotations

from functools import cache

import av
import PIL


@cache
def decoder_version() -> str:
    """The versions of PyAV, of the parts of FFmpeg that it holds, and of Pillow."""
    parts = (
        f"{name} {'.'.join(map(str, av.library_versions[name]))}"
        for name in ("libavformat", "libavcodec", "libavfilter", "libswscale")
    )
    return ", ".join((f"PyAV {av.__version__}", *parts, f"Pillow {PIL.__version__}"))
