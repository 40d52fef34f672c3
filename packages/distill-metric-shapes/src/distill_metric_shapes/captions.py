"""What the shapes world can say: its settings, the grammar of its captions, and which compositions are held out.

Draws nothing, and needs nothing but the standard library and distill-core.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from distill_core.errors import DataError

HeldOut = Literal["include", "exclude", "only"]
HELD_OUT_CHOICES: tuple[HeldOut, ...] = ("include", "exclude", "only")

COLOURS: dict[str, tuple[float, float, float]] = {  # RGB in [0, 1]
    "red": (0.90, 0.15, 0.15),
    "green": (0.15, 0.80, 0.20),
    "blue": (0.20, 0.35, 0.95),
    "yellow": (0.95, 0.85, 0.15),
    "cyan": (0.20, 0.85, 0.90),
    "purple": (0.75, 0.25, 0.85),
}
SHAPES = ("square", "circle", "triangle", "diamond", "cross", "star")
MOTIONS = {  # motion: the words that say it
    "left": "moves left",
    "right": "moves right",
    "up": "moves up",
    "down": "moves down",
    "grows": "grows",
    "shrinks": "shrinks",
    "stays": "stays",
}
PLACES = {  # of a picture, where nothing moves: its quarter, and on which side of the middle that is, right and down
    "up left": (-1, -1),
    "up right": (1, -1),
    "down left": (-1, 1),
    "down right": (1, 1),
}
SAID = MOTIONS | {place: place for place in PLACES}


@dataclass(frozen=True)
class Thing:
    """One coloured shape and what it does, or in a picture where it is: the unit a caption is made of."""

    colour: str
    shape: str
    motion: str

    def phrase(self) -> str:
        """The words for it, e.g. ``a red square moves left``."""
        return f"a {self.colour} {self.shape} {SAID[self.motion]}"

    def is_held_out(self) -> bool:
        """Whether this composition is kept out of training.

        One in eight, spread so that every colour, shape and motion, and every pair of them, is still seen in training.
        """
        colour, motion = list(COLOURS).index(self.colour), list(SAID).index(self.motion)
        return (colour + 2 * SHAPES.index(self.shape) + 3 * motion) % 8 == 0


@dataclass(frozen=True)
class Setting:
    """One size of the world. Lengths are in pixels, areas in square pixels, ranges are (low, high)."""

    name: str
    frames: int
    size: int
    colours: tuple[str, ...]
    shapes: tuple[str, ...]
    motions: tuple[str, ...]
    most_things: int
    area: tuple[float, float]
    travel: tuple[float, float]
    fps: int = 8


SMALL = Setting(
    name="small",
    frames=9,
    size=32,
    colours=("red", "green", "blue", "yellow"),
    shapes=("square", "circle", "triangle"),
    motions=("left", "right", "up", "down"),
    most_things=1,
    area=(90.0, 170.0),
    travel=(7.0, 11.0),
)
MEDIUM = replace(SMALL, name="medium", frames=17, size=64, area=(360.0, 680.0), travel=(14.0, 22.0))
"""What the small setting says, in more frames and pixels."""
PICTURES = replace(SMALL, name="pictures", frames=1, motions=tuple(PLACES), travel=(0.0, 0.0))
"""The small setting's things, standing still in a quarter of a single frame."""
LARGE = Setting(
    name="large",
    frames=17,
    size=64,
    colours=tuple(COLOURS),
    shapes=SHAPES,
    motions=tuple(MOTIONS),
    most_things=2,
    area=(120.0, 240.0),
    travel=(12.0, 20.0),
)
SETTINGS = {setting.name: setting for setting in (SMALL, MEDIUM, LARGE, PICTURES)}


def caption_of(things: tuple[Thing, ...]) -> str:
    """The caption of a clip that shows these things, in this order."""
    return " and ".join(thing.phrase() for thing in things)


@cache
def scenes(setting: Setting, count: int, held_out: HeldOut = "include") -> tuple[tuple[Thing, ...], ...]:
    """Every scene of ``count`` things that the setting can show, in a fixed order; things of one scene differ in colour.

    A scene is held out if any of its things is.
    """
    things = tuple(itertools.starmap(Thing, itertools.product(setting.colours, setting.shapes, setting.motions)))
    every = (
        scene for scene in itertools.product(things, repeat=count) if len({thing.colour for thing in scene}) == count
    )
    if held_out == "include":
        return tuple(every)
    wanted = held_out == "only"
    return tuple(scene for scene in every if any(thing.is_held_out() for thing in scene) == wanted)


def captions(setting: Setting, held_out: HeldOut = "include") -> tuple[str, ...]:
    """Every caption of the setting: 48 for small, 42 of them without the held-out compositions."""
    counts = range(1, setting.most_things + 1)
    return tuple(caption_of(scene) for count in counts for scene in scenes(setting, count, held_out))


def motion_alone(caption: str, setting: Setting) -> str | None:
    """The motion of a caption that says nothing else, e.g. ``moves left``: the rest is for a picture to say. None for any other."""
    said = caption.strip().lower()
    return next((motion for motion in setting.motions if setting.frames > 1 and MOTIONS[motion] == said), None)


def parse(caption: str, setting: Setting) -> tuple[Thing, ...]:
    """The things that a caption names.

    Raises:
        DataError: the caption is no sentence of this setting's grammar.
    """
    things = tuple(_parse_phrase(phrase, setting) for phrase in caption.strip().lower().split(" and "))
    if any(thing is None for thing in things) or len(things) > setting.most_things:
        raise DataError(
            f"{caption!r} is no caption of the {setting.name} shapes world; one is {captions(setting)[0]!r}. "
            f"List them all with: python examples/shapes/captions.py --setting {setting.name}"
        )
    found = tuple(thing for thing in things if thing is not None)
    if len({thing.colour for thing in found}) != len(found):
        raise DataError(f"{caption!r} names one colour twice; give each thing of a caption a colour of its own")
    return found


def _parse_phrase(phrase: str, setting: Setting) -> Thing | None:
    words = phrase.split()
    if len(words) < 4 or words[0] != "a":
        return None
    said = " ".join(words[3:])
    motion = next((motion for motion in setting.motions if SAID[motion] == said), None)
    if motion is None or words[1] not in setting.colours or words[2] not in setting.shapes:
        return None
    return Thing(colour=words[1], shape=words[2], motion=motion)


def vocabulary() -> tuple[str, ...]:
    """Every word of both settings, in a fixed order: the small setting's 13 come first."""
    small = dict.fromkeys(word for caption in captions(SMALL) for word in caption.split())
    large = dict.fromkeys(word for scene in scenes(LARGE, 1) for word in caption_of(scene).split())
    return tuple(small | large | {"and": None})
