"""From rows to the batch that a method sees: latents by the core's own arithmetic, a condition by each family of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distill_core.data.reading.latents import LatentShape, Normalizer
from distill_core.errors import DataError, PluginError
from distill_core.plugins.columns import Column
from distill_core.plugins.loading import CodeOf
from distill_core.plugins.specs import LatentSpace
from distill_core.protocols.adapter import Adapter, EncodesCondition
from distill_core.protocols.batch import Batch, RowKey
from distill_core.protocols.condition import Condition, Prompt
from distill_core.protocols.data import Row
from distill_core.transfer import to_device


class Batches:
    """Makes the batches of a run.

    ``adapters`` are those of its families, by name. The first one's encoders made the data's columns, and it reads them; every other one
    encodes the rows' captions itself. ``space`` is the space of the latents, ``columns`` what the method wants of each row besides.
    """

    def __init__(
        self,
        adapters: Mapping[str, Adapter],
        space: LatentSpace,
        device: torch.device,
        columns: Sequence[Column] = (),
    ) -> None:
        self._adapters = adapters
        self._columns = columns
        self._device = device
        self._lead = next(iter(adapters))
        self._normalised = Normalizer(space, device)

    def prepare(self, rows: Sequence[Row], latent_shape: LatentShape) -> Batch:
        """Rows of the data as a batch of [T, C, H, W] samples. Raises DataError for rows that do not fit."""
        return Batch(
            rows=tuple(RowKey(row.id, row.caption, row.fps) for row in rows),
            conditions={family: self._condition(family, rows) for family in self._adapters},
            latent_shape=latent_shape,
            clean_latents=self._normalised(rows, latent_shape),
            tensors={column.name: self._column(column, rows, latent_shape) for column in self._columns},
        )

    def _column(self, column: Column, rows: Sequence[Row], latent_shape: LatentShape) -> Tensor:
        """A declared column of all rows, [B, ...], on the device; T is cut as the latent's is."""
        tensors = [row.tensors[column.name] for row in rows]
        if column.latent:
            return self._normalised.column(rows, tensors, latent_shape)
        if "T" in column.dimensions:
            tensors = [each.narrow(column.dimensions.index("T"), 0, latent_shape[0]) for each in tensors]
        shapes = {tuple(tensor.shape) for tensor in tensors}
        if len(shapes) > 1:
            listed = ", ".join(str(list(shape)) for shape in sorted(shapes))
            raise DataError(
                f"rows {rows[0].id} to {rows[-1].id} have {column.name} of several shapes, {listed}; one batch takes one: set "
                "training.train_batch_size to 1, or make the column anew"
            )
        return to_device(torch.stack(tensors), self._device)

    def _condition(self, family: str, rows: Sequence[Row]) -> Condition:
        adapter = self._adapters[family]
        if family == self._lead:
            with CodeOf(f"model {family!r}", "preparing conditions"):
                return adapter.prepare_condition(rows)
        if not isinstance(adapter, EncodesCondition):
            raise PluginError(f"model {family!r} declares 'encode_condition', and its adapter has no such operation")
        with CodeOf(f"model {family!r}", "encoding captions"):
            return adapter.encode_condition([Prompt(row.caption) for row in rows])
