"""High dynamic range to standard: what a screen of 203 nits shows of a picture made for 1000. Knows no file.

All of it is of the ITU-R's documents: the transfer functions of BT.2100, the tone curve of BT.2390-11 section 5.4, diffuse white at
203 nits as BT.2408 has it, the primaries of BT.2020 and BT.709, and the SDR display of BT.1886. Light is in nits (cd/m²).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from distill_core.video.looking import Transfer

SDR_WHITE = 203.0
"""Nits that become level 255."""
HDR_PEAK = 1000.0
"""Nits that a picture goes up to; what is brighter is shown as bright as this."""
PQ_PEAK = 10000.0
SDR_GAMMA = 2.4
LEVELS = 1 << 16
"""Codes are 16 bits."""

_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_LUMINANCE = (0.2627, 0.6780, 0.0593)
_TO_BT709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
"""BT.2087-0: linear BT.2020 to linear BT.709."""


def tone_mapped(codes_HW3: Tensor, transfer: Transfer, *, wide: bool = True) -> Tensor:
    """16-bit R'G'B' codes, int32 [H, W, 3] in [0, 65535], as 8-bit SDR, uint8. ``wide``: their primaries are BT.2020's."""
    nits_HW3 = _nits(codes_HW3, transfer)
    # One factor for all three keeps the hue.
    brightest_HW1 = nits_HW3.amax(-1, keepdim=True) / HDR_PEAK
    nits_HW3 = nits_HW3 * (_factors()[_place(brightest_HW1)] / brightest_HW1.clamp(min=1))
    if wide:
        nits_HW3 = nits_HW3 @ torch.tensor(_TO_BT709).T
    return _levels()[_place(nits_HW3 / SDR_WHITE)]


def pq_decoded(signal: Tensor) -> Tensor:
    """A PQ signal in [0, 1] as nits: BT.2100 table 4, EOTF."""
    power = signal.clamp(0, 1) ** (1 / _M2)
    return PQ_PEAK * ((power - _C1).clamp(min=0) / (_C2 - _C3 * power)) ** (1 / _M1)


def pq_encoded(nits: Tensor) -> Tensor:
    """Nits as a PQ signal in [0, 1]: the inverse of the above."""
    power = (nits / PQ_PEAK).clamp(0, 1) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def hlg_decoded(signal: Tensor) -> Tensor:
    """An HLG signal in [0, 1] as scene light in [0, 1]: BT.2100 table 5, the OETF's inverse."""
    return torch.where(signal <= 0.5, signal**2 / 3, (((signal - _C) / _A).exp() + _B) / 12)


def compressed(nits: Tensor) -> Tensor:
    """Nits up to HDR_PEAK brought to SDR_WHITE at most: BT.2390-11 equations 5.4.1, with black at 0."""
    peak_signal, white_signal = (float(pq_encoded(torch.tensor(level))) for level in (HDR_PEAK, SDR_WHITE))
    highest = white_signal / peak_signal
    knee = 1.5 * highest - 0.5
    relative = (pq_encoded(nits) / peak_signal).clamp(max=1)
    t = (relative - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * highest
    return pq_decoded(torch.where(relative < knee, relative, spline) * peak_signal)


def _nits(codes_HW3: Tensor, transfer: Transfer) -> Tensor:
    """Codes as the light of a display."""
    light_HW3 = _table(transfer)[codes_HW3]
    if transfer == "PQ":
        return light_HW3
    # BT.2100 table 5, OOTF: F = α · Y^(γ - 1) · E, with γ = 1.2 and α = 1000 nits.
    luminance_HW1 = (light_HW3 * torch.tensor(_LUMINANCE)).sum(-1, keepdim=True)
    return HDR_PEAK * luminance_HW1**0.2 * light_HW3


def _place(light: Tensor) -> Tensor:
    """Where in the tables below a light in [0, 1] stands: its fourth root, which is fine where it is dark, and quick."""
    return light.clamp(0, 1).sqrt_().sqrt_().mul_(LEVELS - 1).int()


@cache
def _factors() -> Tensor:
    """By what light is multiplied whose brightest colour stands there, of HDR_PEAK. [65536]."""
    nits = HDR_PEAK * (torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)) ** 4
    return (compressed(nits) / nits.clamp(min=1e-12)).clamp(max=1).float()


@cache
def _levels() -> Tensor:
    """The 8-bit level of light that stands there, of SDR_WHITE: BT.1886. [65536], uint8."""
    light = (torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)) ** 4
    return (light ** (1 / SDR_GAMMA) * 255).round().to(torch.uint8)


@cache
def _table(transfer: Transfer) -> Tensor:
    """Light by code: nits of PQ, scene light of HLG. [65536]."""
    signal = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
    return (pq_decoded(signal) if transfer == "PQ" else hlg_decoded(signal)).float()
