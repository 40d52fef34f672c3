"""Whether a video shows its caption: a deterministic judge of colour, shape, motion and size, with no learned part.

It is calibrated on clips as they come back from mp4, where all are right, and knows nothing of the models that it judges.
Sets of videos are compared in `distances.py`; `judge.py` judges a folder.

Shapes in names: F frames, H height, W width, 3 = RGB in [0, 1], 2 = (x right, y down), D features. Lengths are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distill_metric_shapes.captions import COLOURS, Setting, Thing, parse
from distill_metric_shapes.outlines import Array, coverage
from distill_metric_shapes.world import BACKGROUND, GROWTH, Frames

FOREGROUND = 0.4  # the least largest channel of a pixel that belongs to a thing
FAINTEST = 0.15  # the least share of a pixel that counts as covered
COLOUR_TOLERANCE = 0.25  # the largest distance in RGB between a thing and its colour
LEAST_IOU = 0.7
LEAST_GROWTH = 1.25  # area at the end over area at the start
LEAST_TRAVEL = 4.0 / 7.0  # of the least travel of the setting: 4 px in the small one
AREA_SLACK = (0.55, 1.45)  # of the setting's range of areas
REACH_SQUARED = 0.5  # of a thing of area 1: between a disc's 0.32 and a triangle's 0.77
MOST_STRAY = 0.15  # of the foreground, in a colour that the caption does not name


@dataclass(frozen=True)
class Seen:
    """What one thing of a video looks like, measured from its pixels.

    Attributes:
        centre_F2: its centroid in each frame; the middle of the frame where it is not there.
        area_F: its area in each frame.
        colour_3: its mean colour over the clip.
        colour: the nearest colour of the setting, or None where none is near.
        shape: the shape of the setting that fits best.
        iou: how well that shape fits, intersection over union in [0, 1], the mean over frames.
        motion: a motion of the world.
    """

    centre_F2: Array
    area_F: Array
    colour_3: Array
    colour: str | None
    shape: str
    iou: float
    motion: str


@dataclass(frozen=True)
class Verdict:
    """What is right about a video, each over all things that its caption names."""

    colour: bool
    shape: bool
    motion: bool
    size: bool
    iou: float
    seen: tuple[Seen, ...]
    things: tuple[Thing, ...]

    @property
    def right(self) -> bool:
        """Whether everything is."""
        return self.colour and self.shape and self.motion and self.size


def judge(frames_FHW3: Frames, caption: str, setting: Setting) -> Verdict:
    """Judge a uint8 video of the setting's size against its caption.

    Raises:
        DataError: the caption is outside the setting's grammar.
    """
    things = parse(caption, setting)
    assert frames_FHW3.shape == (setting.frames, setting.size, setting.size, 3)
    assert frames_FHW3.dtype == np.uint8
    video_FHW3 = frames_FHW3 / 255.0
    regions, stray = _regions(video_FHW3, things, setting)
    seen = tuple(look(video_FHW3, region_FHW, setting) for region_FHW in regions)
    pairs = tuple(zip(seen, things, strict=True))
    return Verdict(
        colour=stray <= MOST_STRAY and all(one.colour == thing.colour for one, thing in pairs),
        shape=all(one.shape == thing.shape and one.iou > LEAST_IOU for one, thing in pairs),
        motion=all(one.motion == thing.motion for one, thing in pairs),
        size=all(_is_plausible(one.area_F, setting) for one in seen),
        iou=float(np.mean([one.iou for one in seen])),
        seen=seen,
        things=things,
    )


def look(video_FHW3: Array, region_FHW: npt.NDArray[np.bool_], setting: Setting) -> Seen:
    """Measure what is in the foreground of a region as one thing; the video is in [0, 1]."""
    brightness_FHW = np.where(region_FHW, video_FHW3.max(axis=-1), 0.0)
    foreground_FHW = brightness_FHW > FOREGROUND
    colour_3 = video_FHW3[foreground_FHW].mean(axis=0) if foreground_FHW.any() else np.full(3, BACKGROUND)
    distances = [float(np.linalg.norm(colour_3 - COLOURS[name])) for name in setting.colours]
    nearest = setting.colours[int(np.argmin(distances))]
    cover_FHW = np.clip((brightness_FHW - BACKGROUND) / (max(COLOURS[nearest]) - BACKGROUND), 0.0, 1.0)
    cover_FHW = np.where(cover_FHW < FAINTEST, 0.0, cover_FHW)
    area_F = cover_FHW.sum(axis=(1, 2))
    centre_F2 = _centroids(cover_FHW, area_F)
    fits = {shape: _fit(shape, cover_FHW, centre_F2, area_F) for shape in setting.shapes}
    shape = max(fits, key=lambda name: fits[name])
    return Seen(
        centre_F2=centre_F2,
        area_F=area_F,
        colour_3=colour_3,
        colour=nearest if min(distances) < COLOUR_TOLERANCE else None,
        shape=shape,
        iou=fits[shape],
        motion=_motion(centre_F2, area_F, setting),
    )


RESOLUTION_D = np.array([0.5] * 6 + [5.0] + [0.05] * 3)
"""Of each feature, in its own unit, what an ordinary mp4 of the same clip may change: nearer than that is no distance."""


def features(frames_FHW3: Frames, setting: Setting) -> Array:
    """Ten numbers of a video, whatever its caption: its foreground's centroid in the first, middle and last frame (6), its mean
    area, and its mean colour (3). How well a shape fits is no part of them: on drawn clips it hardly varies, so that in units
    of its deviation there any blur at all would be as far as a wrong place."""
    seen = look(frames_FHW3 / 255.0, np.ones(frames_FHW3.shape[:3], dtype=bool), setting)
    centres = seen.centre_F2[[0, setting.frames // 2, -1]].ravel()
    return np.concatenate([centres, [seen.area_F.mean()], seen.colour_3])


def _regions(
    video_FHW3: Array, things: tuple[Thing, ...], setting: Setting
) -> tuple[list[npt.NDArray[np.bool_]], float]:
    """Where to look for each thing, and the share of the foreground whose hue is nearest to no named colour's.

    One thing has the whole frame, so that whatever else is there spoils it. Several things share each frame by a power
    diagram around the centroids of their hues: the border between two discs that do not touch runs between them.
    """
    if len(things) == 1:
        return [np.ones(video_FHW3.shape[:3], dtype=bool)], 0.0
    hues_K3 = np.array([COLOURS[name] for name in setting.colours]) - BACKGROUND
    hues_K3 /= np.linalg.norm(hues_K3, axis=1, keepdims=True)
    hue_FHW = np.argmax((video_FHW3 - BACKGROUND) @ hues_K3.T, axis=-1)
    foreground_FHW = video_FHW3.max(axis=-1) > FOREGROUND
    cores = [foreground_FHW & (hue_FHW == setting.colours.index(thing.colour)) for thing in things]
    owner_FHW = np.argmin([_power_distance(core_FHW.astype(np.float64)) for core_FHW in cores], axis=0)
    stray = float((foreground_FHW & ~np.any(cores, axis=0)).sum() / max(1, foreground_FHW.sum()))
    return [owner_FHW == index for index in range(len(things))], stray


def _power_distance(core_FHW: Array) -> Array:
    """Squared distance of each pixel to the centroid of a core, less the square of the core's reach, frame by frame."""
    area_F = core_FHW.sum(axis=(1, 2))
    centre_F2 = _centroids(core_FHW, area_F)
    grid = np.arange(core_FHW.shape[-1]) + 0.5
    x_F1W = grid[None, None, :] - centre_F2[:, 0, None, None]
    y_FH1 = grid[None, :, None] - centre_F2[:, 1, None, None]
    distance_FHW: Array = x_F1W**2 + y_FH1**2 - REACH_SQUARED * area_F[:, None, None]
    return distance_FHW


def _centroids(cover_FHW: Array, area_F: Array) -> Array:
    size = cover_FHW.shape[-1]
    grid = np.arange(size) + 0.5
    moment_F2 = np.stack([cover_FHW.sum(axis=1) @ grid, cover_FHW.sum(axis=2) @ grid], axis=1)
    there_F1 = area_F[:, None] > 0.0
    centre_F2: Array = np.where(there_F1, moment_F2 / np.where(there_F1, area_F[:, None], 1.0), size / 2.0)
    return centre_F2


def _fit(shape: str, cover_FHW: Array, centre_F2: Array, area_F: Array) -> float:
    """Soft intersection over union with the shape of the same area at the same place; the mean over frames."""
    template_FHW = coverage(shape, centre_F2, np.maximum(area_F, 1.0), cover_FHW.shape[-1])
    shared_F = np.minimum(cover_FHW, template_FHW).sum(axis=(1, 2))
    joined_F = np.maximum(cover_FHW, template_FHW).sum(axis=(1, 2))
    return float((shared_F / joined_F).mean())


def _motion(centre_F2: Array, area_F: Array, setting: Setting) -> str:
    """The direction of the larger displacement, where it is far enough to be one; else what the area does. Of a picture, its quarter."""
    if setting.frames == 1:
        right, down = centre_F2[0] > setting.size / 2.0
        return f"{'down' if down else 'up'} {'right' if right else 'left'}"
    x, y = centre_F2[-1] - centre_F2[0]
    if max(abs(x), abs(y)) > LEAST_TRAVEL * setting.travel[0]:
        if abs(x) > abs(y):
            return "right" if x > 0 else "left"
        return "down" if y > 0 else "up"
    if area_F[-1] > LEAST_GROWTH * area_F[0]:
        return "grows"
    return "shrinks" if area_F[0] > LEAST_GROWTH * area_F[-1] else "stays"


def _is_plausible(area_F: Array, setting: Setting) -> bool:
    low, high = setting.area
    if "grows" in setting.motions:
        high *= GROWTH
    return bool((area_F > AREA_SLACK[0] * low).all() and (area_F < AREA_SLACK[1] * high).all())
