"""Passes of two experts, each over its own rows: what is asked of some rows, and the answers together.

B batch, T latent frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_core.protocols import Ask, Condition
from distill_core.protocols.prediction import Tangents
from distill_core.transfer import to_device
from distill_diffusers.causal.streams import FrameStream, Past, Segment, past_of
from distill_diffusers.experts import in_order, taken
from distill_diffusers.passes.one_pass import Outcome, Passes

if TYPE_CHECKING:
    from distill_core.protocols.adapter import Modules


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
    parts, own = list(outcomes.values()), [rows[name] for name in outcomes]
    derivatives = [part.derivative for part in parts if part.derivative is not None]
    return Outcome(
        in_order([part.velocity for part in parts], own),
        tuple(in_order(layer, own) for layer in zip(*(part.features for part in parts), strict=True)),
        in_order(derivatives, own) if derivatives else None,
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
