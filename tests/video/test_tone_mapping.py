"""distill_core.video.tone_mapping: the ITU's curves at levels that its documents give."""

from __future__ import annotations

import pytest
import torch

from distill_core.video.tone_mapping import (
    SDR_WHITE,
    compressed,
    hlg_decoded,
    pq_decoded,
    pq_encoded,
    tone_mapped,
)


@pytest.mark.parametrize(("nits", "signal"), [(0, 0), (203, 0.5807), (1000, 0.7518), (10000, 1)])
def test_pq_is_that_of_bt_2100(nits: float, signal: float) -> None:
    assert float(pq_encoded(torch.tensor(float(nits)))) == pytest.approx(signal, abs=1e-4)
    assert float(pq_decoded(torch.tensor(float(signal)))) == pytest.approx(nits, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize(("signal", "light"), [(0, 0), (0.5, 1 / 12), (0.75, 0.2650), (1, 1)])
def test_hlg_is_that_of_bt_2100(signal: float, light: float) -> None:
    assert float(hlg_decoded(torch.tensor(float(signal)))) == pytest.approx(light, abs=1e-4)


def test_the_curve_leaves_the_dark_alone_and_brings_the_brightest_to_white() -> None:
    nits = torch.tensor([0.0, 10.0, 40.0, 203.0, 1000.0, 4000.0])
    mapped = compressed(nits)
    assert mapped[:3].tolist() == pytest.approx(nits[:3].tolist(), rel=1e-3, abs=1e-3)
    assert mapped[3:].tolist() == pytest.approx([159.1, SDR_WHITE, SDR_WHITE], rel=1e-3)
    assert (mapped.diff() >= 0).all()


def codes(*signals: float) -> torch.Tensor:
    return torch.tensor([[[round(signal * 65535) for signal in signals]]], dtype=torch.int32)


def test_a_colour_that_both_primaries_hold_keeps_its_hue() -> None:
    grey = tone_mapped(codes(0.4, 0.4, 0.4), "PQ")[0, 0].tolist()
    assert grey[0] == grey[1] == grey[2]
    # 100 nits of BT.709's red, in BT.2020: 62.7, 6.9 and 1.6.
    red = tone_mapped(codes(*pq_encoded(torch.tensor([62.74, 6.91, 1.64])).tolist()), "PQ")[0, 0].tolist()
    assert red[0] == pytest.approx(255 * (100 / 203) ** (1 / 2.4), abs=6)
    assert max(red[1:]) < 20


def test_what_is_brighter_than_the_peak_keeps_its_hue() -> None:
    bright, peak = (
        tone_mapped(codes(*pq_encoded(torch.tensor([nits, nits / 2, nits / 4])).tolist()), "PQ")
        for nits in (4000.0, 1000.0)
    )
    assert (bright.int() - peak.int()).abs().max() <= 1


def test_primaries_that_are_standard_already_are_left() -> None:
    signals = pq_encoded(torch.tensor([100.0, 0.0, 0.0])).tolist()
    assert tone_mapped(codes(*signals), "PQ", wide=False)[0, 0].tolist()[1:] == [0, 0]
