"""Captions that are asked for again: encoded once, and the text encoder let go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill_diffusers import kept_captions
from distill_diffusers.kept_captions import KeptCaptions


class Encoder:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, caption: str) -> Tensor:
        self.calls.append(caption)
        return torch.full((1, 2), float(len(caption)))

    def release(self) -> None:
        self.calls.append("released")


def test_the_foreseen_come_with_the_first_and_nothing_is_encoded_twice() -> None:
    encoder = Encoder()
    kept = KeptCaptions(encoder, foreseen=("bad", ""))
    assert [embeds[0, 0].item() for embeds in kept(["a cat", "a", "a cat"])] == [5.0, 1.0, 5.0]
    assert encoder.calls == ["bad", "", "a cat", "a", "released"]
    kept(["a cat", "bad"])
    kept([""])
    assert len(encoder.calls) == 5
    kept(["new"])
    assert encoder.calls[5:] == ["new", "released"]


def test_the_least_recently_asked_for_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_captions, "KEPT", 2)
    encoder = Encoder()
    kept = KeptCaptions(encoder, foreseen=())
    kept(["a", "b"])
    kept(["a"])
    kept(["c"])
    encoder.calls.clear()
    kept(["a", "c"])
    assert encoder.calls == []
    kept(["b"])
    assert encoder.calls == ["b", "released"]


def test_more_captions_than_are_kept_are_all_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_captions, "KEPT", 2)
    found = KeptCaptions(Encoder(), foreseen=())(["a", "bb", "ccc"])
    assert [embeds[0, 0].item() for embeds in found] == [1.0, 2.0, 3.0]


class Shelf:
    """A store in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def get(self, caption: str) -> Tensor | None:
        return self.kept.get(caption)

    def put(self, caption: str, made: Tensor) -> None:
        self.kept[caption] = made


def test_more_prompts_than_are_kept_are_encoded_once_where_there_is_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_captions, "KEPT", 2)
    encoder = Encoder()
    kept = KeptCaptions(encoder, foreseen=())
    kept.store = Shelf()
    prompts = ["a", "bb", "ccc", "dddd"]
    kept.ahead(prompts)
    assert encoder.calls == [*prompts, "released"]
    for _ in range(2):
        assert [kept([prompt])[0][0, 0].item() for prompt in prompts] == [1.0, 2.0, 3.0, 4.0]
    assert encoder.calls == [*prompts, "released"]
