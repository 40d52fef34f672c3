"""Moving coloured shapes as pixels: clips that are a pure function of (setting, seed, index), drawn with numpy.

The outlines are in `outlines.py`. Writes no files (`draw.py` does) and judges nothing (`judge.py` does).

Shapes in names: F frames, H height, W width, 2 = (x right, y down). Lengths are in pixels, colours in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from distill_metric_shapes.captions import COLOURS, PLACES, HeldOut, Setting, Thing, caption_of, scenes
from distill_metric_shapes.outlines import Array, coverage, unit_bounds, unit_radius

Frames = npt.NDArray[np.uint8]

BACKGROUND = 0.08
MARGIN = 0.5  # clear pixels between a shape and the edge of the frame
CLEAR = 1.5  # between the middle of a picture and the centre of a thing that is on one side of it
GAP = 2.0  # clear pixels between two shapes: more than the halved chroma of an mp4 smears
GROWTH = 1.6  # area at the end over area at the start of a thing that grows
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}


@dataclass(frozen=True)
class Track:
    """Where a thing is and how large, frame by frame: centre_F2 in pixels, area_F in square pixels."""

    thing: Thing
    centre_F2: Array
    area_F: Array


@dataclass(frozen=True)
class Clip:
    """A drawn clip: frames_FHW3 in uint8, the caption it shows, and the tracks it was drawn from."""

    frames_FHW3: Frames
    caption: str
    tracks: tuple[Track, ...]


def make_clip(setting: Setting, seed: int, index: int, held_out: HeldOut = "include") -> Clip:
    """Draw clip number ``index``; it depends on nothing but the arguments, so any number may be drawn in any order."""
    return draw_clip(_scene_at(setting, seed, index, held_out), setting, np.random.default_rng([seed, index]))


def draw_clip(scene: tuple[Thing, ...], setting: Setting, rng: np.random.Generator) -> Clip:
    """A clip of one scene, at random sizes, speeds and places."""
    tracks = _place(scene, setting, rng)
    return Clip(frames_FHW3=render(tracks, setting), caption=caption_of(scene), tracks=tracks)


def _scene_at(setting: Setting, seed: int, index: int, held_out: HeldOut) -> tuple[Thing, ...]:
    """One thing and two things take turns; within each, every scene comes once before any comes again."""
    turn, which = divmod(index, setting.most_things)
    choices = scenes(setting, which + 1, held_out)
    round_number, position = divmod(turn, len(choices))
    return choices[_order(len(choices), seed, round_number)[position]]


@cache
def _order(count: int, seed: int, round_number: int) -> tuple[int, ...]:
    order = np.random.default_rng([seed, round_number, count]).permutation(count)
    return tuple(int(position) for position in order)


def _place(scene: tuple[Thing, ...], setting: Setting, rng: np.random.Generator) -> tuple[Track, ...]:
    """Random sizes, speeds and places, all inside the frame; drawn again until no two things touch."""
    while True:
        tracks = tuple(_draw_track(thing, setting, rng) for thing in scene)
        if all(_apart(one, other) for i, one in enumerate(tracks) for other in tracks[:i]):
            return tracks


def _draw_track(thing: Thing, setting: Setting, rng: np.random.Generator) -> Track:
    area, travel = rng.uniform(*setting.area), rng.uniform(*setting.travel)
    progress_F = np.linspace(0.0, 1.0, setting.frames)
    growth = {"grows": progress_F, "shrinks": progress_F[::-1]}.get(thing.motion, np.zeros(setting.frames))
    area_F = area * (1.0 + (GROWTH - 1.0) * growth)
    direction_2 = np.array(DIRECTIONS.get(thing.motion, (0.0, 0.0)))
    offset_F2 = travel * progress_F[:, None] * direction_2
    low_2, high_2 = unit_bounds(thing.shape)
    scale_F1 = np.sqrt(area_F)[:, None]
    least_2 = (MARGIN - scale_F1 * low_2 - offset_F2).max(axis=0)
    most_2 = (setting.size - MARGIN - scale_F1 * high_2 - offset_F2).min(axis=0)
    if thing.motion in PLACES:
        side_2, middle = np.array(PLACES[thing.motion]), setting.size / 2.0
        least_2 = np.where(side_2 > 0, middle + CLEAR, least_2)
        most_2 = np.where(side_2 < 0, middle - CLEAR, most_2)
    return Track(thing=thing, centre_F2=rng.uniform(least_2, most_2) + offset_F2, area_F=area_F)


def _apart(one: Track, other: Track) -> bool:
    distance_F = np.linalg.norm(one.centre_F2 - other.centre_F2, axis=1)
    reach_F = sum(np.sqrt(track.area_F) * unit_radius(track.thing.shape) for track in (one, other))
    return bool((distance_F >= reach_F + GAP).all())


def render(tracks: tuple[Track, ...], setting: Setting) -> Frames:
    """Paint the tracks over the background, later ones on top: [F, H, W, 3] uint8."""
    image_FHW3 = np.full((setting.frames, setting.size, setting.size, 3), BACKGROUND)
    for track in tracks:
        cover_FHW1 = coverage(track.thing.shape, track.centre_F2, track.area_F, setting.size)[..., None]
        image_FHW3 += cover_FHW1 * (np.array(COLOURS[track.thing.colour]) - image_FHW3)
    return np.rint(image_FHW3 * 255.0).astype(np.uint8)
