"""Captions on disk: found again, and anew where a bit of them has changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from distill_diffusers.caption_store import CaptionStore
from distill_diffusers.kept_captions import KeptCaptions


def made(caption: str) -> dict[str, Tensor]:
    return {"tokens": torch.full((len(caption), 2), 0.5), "pooled": torch.ones(3)}


class Encoder:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, caption: str) -> dict[str, Tensor]:
        self.calls.append(caption)
        return made(caption)

    def release(self) -> None:
        self.calls.append("released")


def test_a_caption_is_found_as_it_was_kept(tmp_path: Path) -> None:
    CaptionStore(tmp_path / "captions", "umt5").put("a cat", made("a cat"))
    found = CaptionStore(tmp_path / "captions", "umt5").get("a cat")
    assert found is not None
    assert all(torch.equal(found[name], tensor) for name, tensor in made("a cat").items())
    assert CaptionStore(tmp_path / "captions", "another").get("a cat") is None
    assert CaptionStore(tmp_path / "captions", "umt5").get("a dog") is None


def test_a_caption_with_a_flipped_bit_is_not_found(tmp_path: Path) -> None:
    store = CaptionStore(tmp_path, "umt5")
    store.put("a cat", made("a cat"))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        file.write_bytes(bytes([*whole[:place], whole[place] ^ 1, *whole[place + 1 :]]))
        assert store.get("a cat") is None
    for length in (0, 31, 32, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert store.get("a cat") is None
    store.put("a cat", made("a cat"))
    assert file.read_bytes() == whole


def test_a_link_is_not_followed_and_a_rank_that_does_not_write_does_not(tmp_path: Path) -> None:
    store = CaptionStore(tmp_path / "captions", "umt5", writes=False)
    store.put("a cat", made("a cat"))
    assert not (tmp_path / "captions").exists()
    writes = CaptionStore(tmp_path / "captions", "umt5")
    writes.put("a cat", made("a cat"))
    (file,) = (tmp_path / "captions").iterdir()
    moved = file.rename(tmp_path / "elsewhere")
    file.symlink_to(moved)
    assert store.get("a cat") is None


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_goes_on_encodes_nothing_again(tmp_path: Path, kept: bool) -> None:
    for first in (True, False):
        encoder = Encoder()
        captions = KeptCaptions(encoder, foreseen=("bad", ""))
        captions.store = CaptionStore(tmp_path, "umt5") if kept else None
        captions.ahead(["a cat", "a dog", "a cat"])
        captions(["a dog", "bad"])
        assert encoder.calls == (["bad", "", "a cat", "a dog", "released"] if first or not kept else [])
