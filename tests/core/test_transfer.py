"""Copies to a device that nobody waits for. There need be no GPU: what is asked of the tensor is looked at."""

from __future__ import annotations

from unittest.mock import Mock, patch

import torch
from torch import Tensor

from distill_core.training import draws as randomness
from distill_core.training.draws import KeyedDraw
from distill_core.transfer import to_device


def test_a_copy_to_a_gpu_comes_from_pinned_memory_and_does_not_block() -> None:
    device, host = torch.device("cuda", 1), Mock(spec=Tensor)
    assert to_device(host, device) is host.pin_memory.return_value.to.return_value
    host.pin_memory.return_value.to.assert_called_once_with(device, non_blocking=True)
    host.to.assert_not_called()


def test_on_the_cpu_nothing_is_copied() -> None:
    host = torch.ones(2)
    assert to_device(host, torch.device("cpu")) is host


def test_every_number_that_is_drawn_on_the_host_is_handed_over_so() -> None:
    draw = KeyedDraw(seed=0, step=1, micro_step=0, rows=(0, 1), device=torch.device("meta"))
    with patch.object(randomness, "to_device", wraps=to_device) as handed:
        drawn = (draw.uniform("u"), draw.choice("c", (1.0, 2.0)), draw.bernoulli("b", 0.5))
    assert [each.device.type for each in drawn] == ["meta"] * 3
    assert handed.call_count == 3
