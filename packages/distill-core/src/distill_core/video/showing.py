"""From a decoded frame to what a player shows: upright, of square pixels, opaque, 8-bit RGB. Knows no file.

H W pixel rows and columns.
"""

from __future__ import annotations

from fractions import Fraction

import av
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from distill_core.video.film import Changes
from distill_core.video.looking import Look, Turn
from distill_core.video.tone_mapping import tone_mapped

BACKGROUND = 255
"""The level, of red, green and blue alike, that transparent parts are laid on: white."""
ON_BACKGROUND = "transparent parts laid on white"

_EXACT = 0x4 | 0x2000 | 0x40000
"""libswscale's SWS_BICUBIC, SWS_FULL_CHR_H_INT and SWS_ACCURATE_RND, without which more than 8 bits are brought to 8 with an error of up to
2.5 levels. Numbers, because not every PyAV has names for them."""
_BT709_PRIMARIES = 1


def developed(frame: av.VideoFrame, look: Look, changes: Changes) -> Tensor:
    """The pixels of a frame as they are shown, uint8 [H, W, 3]."""
    return upright(squared(_rgb(frame, look, changes), look.pixel_aspect, changes), look.turn, changes)


def _rgb(frame: av.VideoFrame, look: Look, changes: Changes) -> Tensor:
    """A frame as it is stored, in 8-bit SDR RGB."""
    components = frame.format.components
    if look.transfer is not None:
        codes_HW3 = torch.from_numpy(frame.to_ndarray(format="rgb48le", interpolation=_EXACT).astype("int32"))
        changes.say(f"tone-mapped from HDR ({look.transfer}) to SDR")
        return tone_mapped(codes_HW3, look.transfer, wide=frame.color_primaries != _BT709_PRIMARIES)
    if any(component.is_alpha for component in components):
        return on_background(torch.from_numpy(frame.to_ndarray(format="rgba")), changes)
    if max(component.bits for component in components) > 8:
        return torch.from_numpy(frame.to_ndarray(format="rgb24", interpolation=_EXACT))
    return torch.from_numpy(frame.to_ndarray(format="rgb24"))


def on_background(pixels_HW4: Tensor, changes: Changes) -> Tensor:
    """RGBA, with what is not opaque mixed with the background."""
    alpha_HW1, rgb_HW3 = pixels_HW4[..., 3:], pixels_HW4[..., :3]
    if int(alpha_HW1.min()) == 255:
        return rgb_HW3.contiguous()
    changes.say(ON_BACKGROUND)
    weight_HW1 = alpha_HW1.float() / 255
    return (rgb_HW3 * weight_HW1 + BACKGROUND * (1 - weight_HW1)).round().to(torch.uint8)


def squared(pixels_HW3: Tensor, aspect: Fraction, changes: Changes) -> Tensor:
    """A picture whose pixels are ``aspect`` times as wide as high, stretched so that they are square; never shrunk."""
    if aspect == 1:
        return pixels_HW3
    height, width = pixels_HW3.shape[:2]
    size = (height, round(width * aspect)) if aspect > 1 else (round(height / aspect), width)
    changes.say(f"stretched to square pixels (from {width}x{height} to {size[1]}x{size[0]})")
    pixels_13HW = pixels_HW3.permute(2, 0, 1)[None]
    return interpolate(pixels_13HW, size, mode="bicubic", align_corners=False, antialias=True)[0].permute(1, 2, 0)


def upright(pixels_HW3: Tensor, turn: Turn, changes: Changes) -> Tensor:
    """A picture turned and mirrored."""
    if turn.quarters:
        pixels_HW3 = torch.rot90(pixels_HW3, turn.quarters)
    if turn.mirrored:
        pixels_HW3 = pixels_HW3.flip(1)
    if turn.words:
        changes.say(turn.words)
    return pixels_HW3
