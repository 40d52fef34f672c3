"""Two experts, of which each sample is predicted by the one that its timestep belongs to: whose rows are whose, and the batch again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_core.errors import PluginError
from distill_core.transfer import to_device


def rows_of_experts(experts: Sequence[str], timestep: Tensor, boundary: float) -> dict[str, list[int]]:
    """The rows of each of two experts, of [B] or [B, T] timesteps; those of the first are at ``boundary`` and above.

    Raises PluginError for a sample whose frames belong to both.
    """
    first, second = experts
    times_BT = timestep.view(len(timestep), -1).tolist()
    rows: dict[str, list[int]] = {first: [], second: []}
    for row, times in enumerate(times_BT):
        high = [time >= boundary for time in times]
        if any(high) and not all(high):
            raise PluginError(
                f"sample {row} has frames at the timesteps {min(times):g} to {max(times):g}, on both sides of the boundary {boundary:g} of "
                "the model's two experts; draw the timesteps of a sample's frames on one side of it"
            )
        rows[first if high[0] else second].append(row)
    return rows


def taken(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """The rows of a tensor."""
    return tensor[to_device(torch.tensor(rows), tensor.device)]


def in_order(parts: Sequence[Tensor], rows: Sequence[Sequence[int]]) -> Tensor:
    """One tensor of the whole batch, of each expert's part, whose rows in it these are."""
    order = [row for own in rows for row in own]
    return taken(torch.cat(list(parts)), sorted(range(len(order)), key=order.__getitem__))
