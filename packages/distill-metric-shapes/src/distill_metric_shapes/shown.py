"""Videos of a picture: the picture says colour, shape, place and size, the caption the motion alone."""

from __future__ import annotations

import numpy as np

from distill_core.errors import DataError
from distill_metric_shapes.captions import Setting, Thing, caption_of
from distill_metric_shapes.verdict import Seen, look
from distill_metric_shapes.world import Frames

MOST_APART = 1.0
"""Pixels between where the picture and the video's first frame have the thing."""
SIZE_SLACK = 0.15
"""By what share of the picture's the area may differ."""


def whole_caption(picture_HW3: Frames, motion: str, setting: Setting) -> str:
    """What a picture and a motion say together, in the grammar of captions.

    Raises:
        DataError: the picture shows no one thing of the setting.
    """
    if picture_HW3.shape != (setting.size, setting.size, 3):
        raise DataError(
            f"a picture of the {setting.name} shapes world has {setting.size}×{setting.size} pixels, not {picture_HW3.shape}"
        )
    seen = _seen(picture_HW3, setting)
    if seen.colour is None or not seen.area_F[0]:
        raise DataError(
            f"a picture shows no thing of the {setting.name} shapes world; draw some with: python examples/shapes/pictures.py"
        )
    return caption_of((Thing(seen.colour, seen.shape, motion),))


def is_kept(frames_FHW3: Frames, picture_HW3: Frames, setting: Setting) -> bool:
    """Whether a video begins with the picture: the same colour and shape, as large, at the same place."""
    if picture_HW3.shape != frames_FHW3.shape[1:]:
        return False
    first, given = _seen(frames_FHW3[0], setting), _seen(picture_HW3, setting)
    apart = float(np.linalg.norm(first.centre_F2[0] - given.centre_F2[0]))
    larger = abs(first.area_F[0] / given.area_F[0] - 1.0)
    return (first.colour, first.shape) == (given.colour, given.shape) and apart < MOST_APART and larger < SIZE_SLACK


def _seen(picture_HW3: Frames, setting: Setting) -> Seen:
    return look(picture_HW3[None] / 255.0, np.ones((1, setting.size, setting.size), dtype=bool), setting)
