"""Tensors that are not there yet: what is done to them gives the bits that it gives of tensors, and is done when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distill_diffusers.deferred import Deferred, NumbersAskedError, now


def counted(tensor: Tensor) -> tuple[Deferred, list[str]]:
    """The same, not there yet; and a mark for each time that it was read."""
    reads: list[str] = []

    def read() -> Tensor:
        reads.append("read")
        return tensor

    return Deferred(tensor.to("meta"), read), reads


def test_a_release_is_split_joined_and_scaled_bit_for_bit_and_read_for_what_is_asked_alone() -> None:
    """As diffusers' conversions do it, and as scales of fp8 are applied."""
    stored = {
        "qkv": torch.randn(6, 4, dtype=torch.bfloat16),
        "mod": torch.randn(4),
        "low": torch.randn(2, 4).to(torch.float8_e4m3fn),
        "scale": torch.tensor([2.0, 0.5]),
    }
    pairs = {name: counted(tensor) for name, tensor in stored.items()}

    def convert(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        q, k, v = torch.chunk(tensors["qkv"], 3, dim=0)
        shift, scale = tensors["mod"].chunk(2)
        return {
            "q": torch.cat([q]),
            "kv": torch.stack([k, v]).reshape(2, -1).t(),
            "mod": torch.cat([scale, shift])[None],
            "low": tensors["low"].float() * tensors["scale"].float().reshape(-1, 1),
        }

    expected, made = convert(stored), convert({name: deferred for name, (deferred, _) in pairs.items()})
    assert not any(reads for _, reads in pairs.values())
    for name, tensor in expected.items():
        assert (made[name].shape, made[name].dtype) == (tensor.shape, tensor.dtype)
        assert now(made[name]).equal(tensor), name
    assert now(made["mod"]).equal(expected["mod"])
    assert [len(pairs[name][1]) for name in ("qkv", "mod", "low")] == [3, 4, 1], "a part is read for each of its uses"
    assert now(stored["mod"]) is stored["mod"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda tensor: tensor.add_(1.0), "changes a tensor in place"),
        (lambda tensor: float(tensor.sum()), "takes numbers"),
        (lambda tensor: tensor[tensor > 0], "takes numbers"),
    ],
)
def test_what_takes_numbers_says_so(ask: Callable[[Tensor], object], said: str) -> None:
    with pytest.raises(NumbersAskedError, match=said):
        ask(counted(torch.randn(3))[0])
