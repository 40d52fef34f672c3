"""Captions as the transformer attends them: how padding is folded, packed and mixed."""

from __future__ import annotations

import pytest
import torch

from distill_model_wan.text import TextPacking, pad_bias

CPU = torch.device("cpu")


def packing(fold: bool = True, length: int = 512, dtype: torch.dtype = torch.float32) -> TextPacking:
    return TextPacking(length, fold, dtype, CPU)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 5e-4)]
)
@pytest.mark.parametrize(("attended", "length"), [(8, 512), (104, 512), (504, 512), (8, 16), (8, 226), (8, 2048)])
def test_folded_tokens_weigh_as_much_as_all_padding(
    attended: int, length: int, dtype: torch.dtype, tolerance: float
) -> None:
    bias_L = pad_bias(attended, length, dtype)
    assert bias_L.dtype == dtype
    assert torch.isfinite(bias_L).all()
    assert bias_L[:-2].eq(0).all()
    assert bias_L.double().exp().sum().item() == pytest.approx(length, rel=tolerance)


def test_one_token_alone_would_be_off_in_bfloat16() -> None:
    count = torch.tensor(506.0)
    rounded = count.log().bfloat16().double().exp()
    assert abs(rounded.item() / 506.0 - 1.0) > 5e-3


@pytest.mark.parametrize(
    ("lengths", "attended", "folded"),
    [
        ((1, 6), 8, True),
        ((6, 7), 16, True),
        ((0,), 8, True),
        ((500,), 504, True),
        ((3, 511), 512, False),
        ((512,), 512, False),
    ],
)
def test_the_attended_length_leaves_room_for_two_padding_tokens(
    lengths: tuple[int, ...], attended: int, folded: bool
) -> None:
    text = packing().pack([torch.ones(length, 4) for length in lengths])
    assert text.embeds_BLD.shape == (len(lengths), attended, 4)
    assert (text.pad_bias_L is not None) == folded
    assert len(text) == len(lengths)
    assert text.embeds_BLD.sum(dim=(1, 2)).tolist() == [4.0 * length for length in lengths]


def test_full_padding_attends_every_token() -> None:
    text = packing(fold=False).pack([torch.ones(3, 4)])
    assert text.embeds_BLD.shape == (1, 512, 4)
    assert text.pad_bias_L is None


def test_stored_bfloat16_is_packed_as_float32() -> None:
    assert packing().pack([torch.ones(3, 4, dtype=torch.bfloat16)]).embeds_BLD.dtype == torch.float32


def test_mixing_takes_each_row_from_its_side() -> None:
    pack = packing()
    long, empty = pack.pack([torch.full((20, 4), 1.0), torch.full((3, 4), 2.0)]), pack.pack([torch.full((1, 4), 9.0)])
    mixed = pack.mixed(long, empty, torch.tensor([True, False]))
    expected = pack.pack([torch.full((1, 4), 9.0), torch.full((20, 4), 0.0)])
    assert mixed.embeds_BLD.shape == expected.embeds_BLD.shape
    assert mixed.embeds_BLD[0].equal(expected.embeds_BLD[0])
    assert mixed.embeds_BLD[1].equal(long.embeds_BLD[1])
    assert mixed.pad_bias_L is not None
    assert expected.pad_bias_L is not None
    assert mixed.pad_bias_L.equal(expected.pad_bias_L)


def test_mixing_a_full_caption_in_unfolds_the_batch() -> None:
    pack = packing(length=16)
    mixed = pack.mixed(pack.pack([torch.ones(2, 4)]), pack.pack([torch.ones(16, 4)]), torch.tensor([False]))
    assert mixed.embeds_BLD.shape == (1, 16, 4)
    assert mixed.pad_bias_L is None


def test_rows_are_selected_and_repeated() -> None:
    text = packing().pack([torch.full((2, 4), float(value)) for value in range(3)])
    assert text.select(torch.tensor([2, 0])).embeds_BLD[:, 0, 0].tolist() == [2.0, 0.0]
    repeated = text.select(torch.tensor([1])).repeated(5)
    assert len(repeated) == 5
    assert repeated.embeds_BLD[:, 0, 0].tolist() == [1.0] * 5


def test_the_bias_of_one_length_is_made_once() -> None:
    first, second = (packing().pack([torch.ones(length, 4)]) for length in (3, 5))
    assert first.pad_bias_L is not None
    assert first.pad_bias_L is second.pad_bias_L
    assert first.pad_bias_L is not packing(length=256).pack([torch.ones(3, 4)]).pad_bias_L
