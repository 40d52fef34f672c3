"""benchmarks/decoder_drift.py: what it says of real clips, of a decoder, and of sampled clips."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from benchmarks.decoder_drift import main

from distill_core.video.writing import FAITHFUL, write_mp4

TEACHER = Path(__file__).resolve().parents[2] / "examples" / "shapes" / "teacher"


def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> list[list[str]]:
    """The words of each line that it prints."""
    monkeypatch.setattr(sys, "argv", ["decoder_drift.py", *map(str, arguments)])
    main()
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def figure(words: list[str], name: str) -> float:
    return float(words[words.index(name) + 1])


def test_the_shipped_decoder_keeps_contrast_for_as_long_as_it_was_trained_and_no_longer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn, trained, longer_drawn, longer = lines(monkeypatch, capsys, TEACHER, "--frames", 9, 17, "--clips", 1)
    assert [words[0] for words in (drawn, trained, longer_drawn, longer)] == ["9", "9", "17", "17"]
    assert figure(drawn, "contrast") == pytest.approx(1.0, abs=0.01)
    assert figure(longer_drawn, "contrast") == pytest.approx(1.0, abs=0.01)
    assert figure(trained, "contrast") == pytest.approx(1.0, abs=0.05)
    assert figure(longer, "contrast") > 1.15
    assert figure(trained, "place") == pytest.approx(figure(drawn, "place"), abs=0.03)


def test_sampled_clips_are_measured_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    still_FHW3 = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    fading_FHW3 = torch.cat([still_FHW3, still_FHW3, still_FHW3 // 2, still_FHW3 // 2])
    for name, clip_FHW3 in (("still", still_FHW3.expand(4, -1, -1, -1).contiguous()), ("fading", fading_FHW3)):
        (tmp_path / name).mkdir()
        write_mp4(tmp_path / name / "0000.mp4", clip_FHW3, 8, FAITHFUL)
    still, fading = lines(monkeypatch, capsys, "--samples", tmp_path / "still", tmp_path / "fading")
    assert figure(still, "contrast") == pytest.approx(1.0, abs=0.05)
    assert figure(fading, "contrast") == pytest.approx(0.5, abs=0.05)
    assert still[0] == "4"


@pytest.mark.parametrize(
    ("asked", "said"), [([], "nothing to measure; name pipelines"), (["--samples", "."], "has no mp4 files")]
)
def test_nothing_to_measure_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        lines(monkeypatch, capsys, *asked)
    assert said in capsys.readouterr().err
