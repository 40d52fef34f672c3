"""distill_core.data.encoding.encoder: a caption that is cut at the text length is said to be, with both numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_encoding import Counting, encode_folder, encode_lines, encoding, film, report
from torch import Tensor

from distill_core.data.encoding.encoder import Encoding

FOUR, SIX = "a small red ball", "a small red ball rolls away"
CUT = "caption cut at the text length (from 6 to 4 tokens)"


class FourTokens(Counting):
    """Cuts captions at four words; notes those that it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[str] = []

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        return [text_LD[:4] for text_LD in super().encode_caption(captions)]

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        self.counted += captions
        return super().count_tokens(captions)


@pytest.fixture
def how() -> Encoding:
    """For a model that attends four tokens."""
    made = encoding(encoder=FourTokens())
    return replace(made, origin=replace(made.origin, text_length=4))


def changes(output: Path) -> dict[str, list[str]]:
    return {line["name"]: line["changes"] for line in report(output)}


def test_a_clip_whose_caption_is_cut_says_so_and_says_it_again(tmp_path: Path, how: Encoding) -> None:
    film(tmp_path / "in" / "a.mp4", frames=12, caption=SIX)
    film(tmp_path / "in" / "b.mp4", caption=FOUR)
    film(tmp_path / "in" / "c.mp4", height=48, caption="a ball")
    for _ in range(2):
        encode_folder(tmp_path / "in", tmp_path / "out", how)
        assert changes(tmp_path / "out") == {
            "a.mp4": ["trimmed from 12 to 9 frames", CUT],
            "b.mp4": [],
            "c.mp4": [],
        }
    assert isinstance(how.encoder, FourTokens)
    assert how.encoder.counted == [SIX, FOUR]  # once, and only what fills the length


def test_a_shorter_caption_of_the_same_clip_is_not_said_to_be_cut(tmp_path: Path, how: Encoding) -> None:
    video = film(tmp_path / "in" / "a.mp4", frames=12, caption=SIX)
    encode_folder(tmp_path / "in", tmp_path / "out", how)
    video.with_suffix(".txt").write_text("a ball")
    encode_folder(tmp_path / "in", tmp_path / "out", how)
    assert changes(tmp_path / "out") == {"a.mp4": ["trimmed from 12 to 9 frames"]}


def test_captions_alone_that_are_cut_say_so_and_say_it_again(tmp_path: Path, how: Encoding) -> None:
    (tmp_path / "captions.txt").write_text(f"{SIX}\n{FOUR}\n")
    for _ in range(2):
        encode_lines(tmp_path / "captions.txt", tmp_path / "out", how)
        assert changes(tmp_path / "out") == {"caption-000001": [CUT], "caption-000002": []}
