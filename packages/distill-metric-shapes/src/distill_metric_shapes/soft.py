"""The judge made soft: a number in [0, 1] for how well a clip of one thing shows its caption, with a gradient to every pixel.

It looks at what `verdict.py` looks at, by smooth functions: the foreground's mean colour, its overlap with the outlines, its displacement.
Shapes in names: F frames, C = RGB, H height, W width, S shapes, 2 = (x right, y down). Lengths are in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from distill_metric_shapes.captions import COLOURS, Setting, Thing
from distill_metric_shapes.config import PARTS, Part
from distill_metric_shapes.outlines import coverage
from distill_metric_shapes.verdict import COLOUR_TOLERANCE, LEAST_TRAVEL
from distill_metric_shapes.world import BACKGROUND, DIRECTIONS

LEAST_AREA = 1.0
SHARPNESS = 0.05
"""Differences of fit between two outlines of about this size decide which one it is."""


def soft_verdict(video_FCHW: Tensor, thing: Thing, setting: Setting, parts: Sequence[Part] = PARTS) -> Tensor:
    """The mean of what is right about these parts, a scalar in [0, 1]; the video is about [0, 1]."""
    video_FCHW = video_FCHW.clamp(0.0, 1.0)
    cover_FHW = _cover(video_FCHW, thing.colour)
    area_F = cover_FHW.sum(dim=(1, 2)).clamp(min=LEAST_AREA)
    centre_F2 = _centre(cover_FHW, area_F)
    measured: dict[Part, Callable[[], Tensor]] = {
        "colour": lambda: _colour(video_FCHW, cover_FHW, thing.colour),
        "shape": lambda: _shape(cover_FHW, centre_F2, area_F, thing.shape, setting),
        "motion": lambda: _motion(centre_F2, thing.motion, setting),
    }
    return torch.stack([measured[part]() for part in parts]).mean()


def _cover(video_FCHW: Tensor, colour: str) -> Tensor:
    """The share of each pixel that is of the thing, by its brightness."""
    return ((video_FCHW.amax(dim=1) - BACKGROUND) / (max(COLOURS[colour]) - BACKGROUND)).clamp(0.0, 1.0)


def _centre(cover_FHW: Tensor, area_F: Tensor) -> Tensor:
    grid = torch.arange(cover_FHW.shape[-1], dtype=cover_FHW.dtype, device=cover_FHW.device) + 0.5
    moments = (cover_FHW.sum(dim=1) @ grid, cover_FHW.sum(dim=2) @ grid)
    return torch.stack(moments, dim=1) / area_F[:, None]


def _colour(video_FCHW: Tensor, cover_FHW: Tensor, colour: str) -> Tensor:
    """exp(-d² / 2 τ²), d the distance in RGB of the covered pixels' mean colour, τ what the judge lets pass."""
    weight_F1HW = cover_FHW[:, None]
    mean_C = (video_FCHW * weight_F1HW).sum(dim=(0, 2, 3)) / weight_F1HW.sum().clamp(min=LEAST_AREA)
    named_C = torch.tensor(COLOURS[colour], dtype=mean_C.dtype, device=mean_C.device)
    return torch.exp(-((mean_C - named_C) ** 2).sum() / (2.0 * COLOUR_TOLERANCE**2))


def _shape(cover_FHW: Tensor, centre_F2: Tensor, area_F: Tensor, shape: str, setting: Setting) -> Tensor:
    """The probability of the named shape by how well each fits, with outlines of the same area at the same place, held constant."""
    centre, area = centre_F2.detach().double().cpu().numpy(), area_F.detach().double().cpu().numpy()
    fits = []
    for name in setting.shapes:
        outline_FHW = torch.from_numpy(coverage(name, centre, area, cover_FHW.shape[-1])).to(cover_FHW)
        shared_F = torch.minimum(cover_FHW, outline_FHW).sum(dim=(1, 2))
        joined_F = torch.maximum(cover_FHW, outline_FHW).sum(dim=(1, 2)).clamp(min=LEAST_AREA)
        fits.append((shared_F / joined_F).mean())
    return torch.softmax(torch.stack(fits) / SHARPNESS, dim=0)[setting.shapes.index(shape)]


def _motion(centre_F2: Tensor, motion: str, setting: Setting) -> Tensor:
    """How surely the displacement is along the named direction, farther than across it, and far enough; in pixels, a logit."""
    along_2 = torch.tensor(DIRECTIONS[motion], dtype=centre_F2.dtype, device=centre_F2.device)
    moved_2 = centre_F2[-1] - centre_F2[0]
    along, across = moved_2 @ along_2, (moved_2 * (1.0 - along_2.abs())).abs().sum()
    least = LEAST_TRAVEL * setting.travel[0]
    return torch.sigmoid(along - torch.clamp(across, min=least))
