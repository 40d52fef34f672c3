"""The outlines of the shapes, and how much of each pixel one covers: analytic antialiasing from signed distances.

Knows nothing of colours, motion or captions.

Shapes in names: F frames, H height, W width, V vertices, 2 = (x right, y down). Lengths are in pixels.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CROSS = ((1, 1), (3, 1), (3, -1), (1, -1), (1, -3), (-1, -3), (-1, -1), (-3, -1), (-3, 1), (-1, 1), (-1, 3), (1, 3))
REGULAR = {  # (corners, angle of the first in degrees, radius of the notch between two corners or None)
    "square": (4, 45.0, None),
    "diamond": (4, 0.0, None),
    "triangle": (3, -90.0, None),
    "star": (5, -90.0, 0.45),
}
UNIT_CIRCLE_RADIUS = 1.0 / np.sqrt(np.pi)


def coverage(shape: str, centre_F2: Array, area_F: Array, size: int) -> Array:
    """The share of each pixel that the shape covers, [F, size, size] in [0, 1]; pixel (0, 0) has its centre at (.5, .5)."""
    grid = np.arange(size) + 0.5
    scale_F11 = np.sqrt(area_F)[:, None, None]
    x_F1W = (grid[None, None, :] - centre_F2[:, 0, None, None]) / scale_F11
    y_FH1 = (grid[None, :, None] - centre_F2[:, 1, None, None]) / scale_F11
    distance_FHW = scale_F11 * unit_distance(shape, x_F1W, y_FH1)
    cover_FHW: Array = np.clip(0.5 - distance_FHW, 0.0, 1.0)
    return cover_FHW


def unit_distance(shape: str, x: Array, y: Array) -> Array:
    """Signed distance, negative inside, to the outline of area 1 about its centroid; x and y broadcast."""
    if shape == "circle":
        circle: Array = np.hypot(x, y) - UNIT_CIRCLE_RADIUS
        return circle
    return _polygon_distance(_unit_polygon(shape), x, y)


@cache
def unit_bounds(shape: str) -> tuple[Array, Array]:
    """The lowest and the highest (x, y) of the outline of area 1."""
    if shape == "circle":
        return np.full(2, -UNIT_CIRCLE_RADIUS), np.full(2, UNIT_CIRCLE_RADIUS)
    vertices_V2 = _unit_polygon(shape)
    return vertices_V2.min(axis=0), vertices_V2.max(axis=0)


@cache
def unit_radius(shape: str) -> float:
    """The largest distance of the outline of area 1 from its centroid."""
    if shape == "circle":
        return float(UNIT_CIRCLE_RADIUS)
    return float(np.linalg.norm(_unit_polygon(shape), axis=1).max())


@cache
def _unit_polygon(shape: str) -> Array:
    """The vertices [V, 2], in order, of the shape scaled to area 1 by the shoelace formula."""
    vertices_V2 = np.array(CROSS, dtype=np.float64) if shape == "cross" else _regular(*REGULAR[shape])
    x, y = vertices_V2.T
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    unit_V2: Array = vertices_V2 / np.sqrt(area)
    return unit_V2


def _regular(corners: int, first_degrees: float, notch: float | None) -> Array:
    radii = np.array([1.0] if notch is None else [1.0, notch])
    count = corners * len(radii)
    angles = np.deg2rad(first_degrees) + 2.0 * np.pi * np.arange(count) / count
    vertices_V2: Array = np.resize(radii, count)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return vertices_V2


def _polygon_distance(vertices_V2: Array, x: Array, y: Array) -> Array:
    """Distance to the nearest edge; inside is an odd number of crossings of the ray to the right."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    squared = np.full(shape, np.inf)
    inside = np.zeros(shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(vertices_V2, np.roll(vertices_V2, -1, axis=0), strict=True):
        ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        squared = np.minimum(squared, (px - along * ex) ** 2 + (py - along * ey) ** 2)
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (px * ey < ex * py if by > ay else px * ey > ex * py)
    distance: Array = np.where(inside, -1.0, 1.0) * np.sqrt(squared)
    return distance
