"""Two experts, of which each sample is predicted by the one that its timestep belongs to: who predicts what, and the answers together.

B batch, T latent frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_core.errors import PluginError
from distill_core.protocols import Ask, Condition
from distill_core.protocols.prediction import Tangents
from distill_core.transfer import to_device
from distill_diffusers.causal.streams import FrameStream, Past, Segment, past_of
from distill_diffusers.passes.one_pass import Outcome, Passes

if TYPE_CHECKING:
    from distill_core.protocols.adapter import Modules


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


def asked_of(ask: Ask, rows: Sequence[int]) -> Ask:
    """What is asked of some rows; their stream apart."""
    along = ask.along
    if along is not None:
        until = None if along.until is None else taken(along.until, rows)
        along = Tangents(taken(along.noisy, rows), taken(along.sigma, rows), until)
    until, clean = (None if each is None else taken(each, rows) for each in (ask.until, ask.clean))
    return replace(ask, until=until, clean=clean, along=along)


def rows_of_outcome(outcome: Outcome, rows: Sequence[int]) -> Outcome:
    """Some rows of an outcome, without what it stored."""
    derivative = None if outcome.derivative is None else taken(outcome.derivative, rows)
    return Outcome(taken(outcome.velocity, rows), tuple(taken(each, rows) for each in outcome.features), derivative)


def together(outcomes: Mapping[str, Outcome], rows: Mapping[str, Sequence[int]]) -> Outcome:
    """The outcomes of the experts' rows in the order of the batch."""
    parts = list(outcomes.values())
    order = [row for name in outcomes for row in rows[name]]
    back = sorted(range(len(order)), key=order.__getitem__)

    def joined(each: Sequence[Tensor]) -> Tensor:
        """One tensor of the whole batch."""
        return taken(torch.cat(list(each)), back)

    derivatives = [part.derivative for part in parts if part.derivative is not None]
    return Outcome(
        joined([part.velocity for part in parts]),
        tuple(joined(layer) for layer in zip(*(part.features for part in parts), strict=True)),
        joined(derivatives) if derivatives else None,
    )


def by_experts(
    passes: Passes,
    modules: Modules,
    noisy_BTCHW: Tensor,
    timestep: Tensor,
    condition: Condition,
    ask: Ask,
    stream: FrameStream | None,
    rows: Mapping[str, Sequence[int]],
) -> tuple[Outcome, dict[str, Segment]]:
    """The answer of each row's expert, and what each expert remembers of all rows, where a stream is wanted.

    An expert that predicts none of the rows remembers them all the same: it will be asked to go on from them.
    """
    outcomes: dict[str, Outcome] = {}
    segments: dict[str, Segment] = {}
    for name, own in rows.items():
        past, every = past_of(stream, name), len(own) == len(noisy_BTCHW)
        if not own and not ask.store:
            continue
        if every or ask.store:
            wanted = ask if own else replace(ask, features=(), along=None)
            with nullcontext() if own else torch.no_grad():
                outcome = passes.run(modules[name], noisy_BTCHW, timestep, condition, wanted, past)
            if outcome.segment is not None:
                segments[name] = outcome.segment
        else:
            chosen = to_device(torch.tensor(own), noisy_BTCHW.device)
            given = (noisy_BTCHW[chosen], taken(timestep, own), condition.select(chosen))
            past = Past(past.frames, tuple(segment.select(chosen) for segment in past.memory))
            outcome = passes.run(modules[name], *given, asked_of(ask, own), past)
        if own:
            outcomes[name] = rows_of_outcome(outcome, own) if ask.store and not every else outcome
    return together(outcomes, rows), segments
