"""Captions as named tensors: padded, masked, mixed and repeated."""

from __future__ import annotations

import pytest
import torch

from distill_diffusers.conditions import CaptionPadding, NamedTensors

CPU = torch.device("cpu")


def caption(tokens: int, value: float) -> dict[str, torch.Tensor]:
    return {"tokens": torch.full((tokens, 2), value), "pooled": torch.full((3,), value)}


@pytest.mark.parametrize(("length", "padded"), [(None, 3), (5, 5)])
def test_tokens_are_padded_and_what_is_no_padding_is_said(length: int | None, padded: int) -> None:
    batch = CaptionPadding(length, CPU).pack([caption(1, 1.0), caption(3, 2.0)])
    assert len(batch) == 2
    assert batch["tokens"].shape == (2, padded, 2)
    assert batch["tokens_mask"].sum(dim=1).tolist() == [1, 3]
    assert batch["tokens"].sum(dim=(1, 2)).tolist() == [2.0, 12.0]
    assert batch["pooled"].tolist() == [[1.0] * 3, [2.0] * 3]
    assert "pooled_mask" not in batch.tensors


@pytest.mark.parametrize("other_tokens", [1, 4])
def test_mixing_takes_one_caption_for_those_that_are_marked(other_tokens: int) -> None:
    padding = CaptionPadding(None, CPU)
    batch, other = padding.pack([caption(2, 1.0), caption(2, 2.0)]), padding.pack([caption(other_tokens, 9.0)])
    mixed = padding.mixed(batch, other, torch.tensor([False, True]))
    assert mixed["pooled"][:, 0].tolist() == [1.0, 9.0]
    assert mixed["tokens_mask"].sum(dim=1).tolist() == [2, other_tokens]
    assert mixed["tokens"][1].sum() == other_tokens * 18.0
    assert mixed["tokens"].shape[1] == max(2, other_tokens)


def test_rows_are_selected_and_one_caption_is_repeated() -> None:
    batch = NamedTensors({"tokens": torch.arange(6.0).view(3, 1, 2)})
    assert batch.select(torch.tensor([2, 0]))["tokens"].flatten().tolist() == [4.0, 5.0, 0.0, 1.0]
    one = batch.select(torch.tensor([1]))
    assert len(one.repeated(4)) == 4
    assert one.repeated(4)["tokens"].untyped_storage().data_ptr() == one["tokens"].untyped_storage().data_ptr()
