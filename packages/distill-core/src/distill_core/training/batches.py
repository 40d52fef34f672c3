"""From rows to the batch that a method sees: latents by the core's own arithmetic, a condition by each family of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from distill_core.data.reading.latents import LatentShape, Normalizer
from distill_core.errors import PluginError
from distill_core.plugins.specs import LatentSpace
from distill_core.protocols.adapter import Adapter, EncodesCondition
from distill_core.protocols.batch import Batch, RowKey
from distill_core.protocols.condition import Condition, Prompt
from distill_core.protocols.data import Row


class Batches:
    """Makes the batches of a run.

    ``adapters`` are those of its families, by name. The first one's encoders made the data's columns, and it reads them; every other one
    encodes the rows' captions itself. ``space`` is the space of the latents.
    """

    def __init__(self, adapters: Mapping[str, Adapter], space: LatentSpace, device: torch.device) -> None:
        self._adapters = adapters
        self._lead = next(iter(adapters))
        self._normalised = Normalizer(space, device)

    def prepare(self, rows: Sequence[Row], latent_shape: LatentShape) -> Batch:
        """Rows of the data as a batch of [T, C, H, W] samples. Raises DataError for rows that do not fit."""
        return Batch(
            rows=tuple(RowKey(row.id, row.caption, row.fps) for row in rows),
            conditions={family: self._condition(family, rows) for family in self._adapters},
            latent_shape=latent_shape,
            clean_latents=self._normalised(rows, latent_shape),
        )

    def _condition(self, family: str, rows: Sequence[Row]) -> Condition:
        adapter = self._adapters[family]
        if family == self._lead:
            return adapter.prepare_condition(rows)
        if not isinstance(adapter, EncodesCondition):
            raise PluginError(f"model {family!r} declares 'encode_condition', and its adapter has no such operation")
        return adapter.encode_condition([Prompt(row.caption) for row in rows])
