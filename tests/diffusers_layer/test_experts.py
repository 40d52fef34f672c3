"""Two experts share a batch by its rows."""

from __future__ import annotations

import pytest
import torch

from distill_core.errors import PluginError
from distill_diffusers.experts import in_order, rows_of_experts, taken


def test_each_row_goes_to_its_expert_and_comes_back_to_its_place() -> None:
    batch_B = torch.tensor([10, 20, 30, 40, 50])
    rows = rows_of_experts(("noisy", "clean"), torch.tensor([100.0, 900.0, 875.0, 874.9, 1000.0]), 875.0)
    assert rows == {"noisy": [1, 2, 4], "clean": [0, 3]}
    assert in_order([taken(batch_B, own) for own in rows.values()], tuple(rows.values())).equal(batch_B)


def test_a_sample_whose_frames_belong_to_both_is_named() -> None:
    times_BT = torch.tensor([[900.0, 950.0], [100.0, 900.0]])
    with pytest.raises(
        PluginError, match=r"sample 1 has frames at the timesteps 100 to 900, on both sides of the boundary 875"
    ):
        rows_of_experts(("noisy", "clean"), times_BT, 875.0)
