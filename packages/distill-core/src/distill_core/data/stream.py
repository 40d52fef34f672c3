"""The rows of a run, micro-batch after micro-batch, without end.

Its whole state is the number of samples that all ranks have drawn. Nothing else (worker, prefetched batch, random
state) has a say in what comes next, so a run goes on exactly where it stopped, also with other workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from distill_core.data.order import RowOrder
from distill_core.errors import CheckpointError, DataError
from distill_core.protocols import Row

BATCHES_AHEAD = 2
"""Micro-batches that each worker reads ahead."""


class RowSource(Protocol):
    """What a stream reads from, e.g. a :class:`distill_core.data.dataset.ParquetDataset`; workers get a copy."""

    def __len__(self) -> int:
        """Number of rows, at least 1."""
        ...

    def __getitem__(self, index: int, /) -> Row:
        """One row. Raises DataError if it is malformed."""
        ...

    def fingerprint(self) -> str:
        """Differs where the rows, or their order, differ."""
        ...


class RowBatch(NamedTuple):
    """One micro-batch of one rank.

    Attributes:
        rows: B rows.
        positions: for each, its place in the micro-batch of all ranks, in [0, B · world size).
    """

    rows: tuple[Row, ...]
    positions: tuple[int, ...]


class RowStream(Iterator[RowBatch]):
    """Draws ``batch_size`` rows per rank and micro-batch.

    With B rows on each of w ranks and n samples drawn so far, rank r takes the samples n + r·B, …, n + (r + 1)·B - 1 of
    a :class:`RowOrder`. Reading raises DataError for a malformed row and for a worker process that died.
    """

    def __init__(
        self, source: RowSource, *, seed: int, batch_size: int, rank: int = 0, world_size: int = 1, num_workers: int = 0
    ) -> None:
        self._source = source
        self._fingerprint = source.fingerprint()
        self._order = RowOrder(len(source), seed)
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self._num_workers = num_workers
        self._samples = 0
        self._batches: Iterator[tuple[Row, ...] | DataError] | None = None

    def __next__(self) -> RowBatch:
        """The next micro-batch."""
        if self._batches is None:
            self._batches = self._read_from(self._samples)
        try:
            rows = next(self._batches)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            self.close()
            raise DataError(
                f"a process that reads data died: {error}; set data.num_workers to 0 to read without one"
            ) from error
        if isinstance(rows, DataError):
            self.close()
            raise rows
        self._samples += self._batch_size * self._world_size
        first = self._rank * self._batch_size
        return RowBatch(rows, tuple(range(first, first + self._batch_size)))

    def state_dict(self) -> dict[str, object]:
        """The position, as JSON has it."""
        return {"samples": self._samples, "rows": self._order.rows, "fingerprint": self._fingerprint}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a position. Raises CheckpointError if it belongs to other data."""
        if state["fingerprint"] != self._fingerprint:
            raise CheckpointError(
                f"the data have changed since the checkpoint was written ({state['rows']} rows then, "
                f"{self._order.rows} now); put the same data set back, or start a new run in another output_dir"
            )
        samples = state["samples"]
        assert isinstance(samples, int)
        self.close()
        self._samples = samples

    def close(self) -> None:
        """Stop the workers, if there are any. Drawing on starts new ones."""
        self._batches = None

    def _read_from(self, samples: int) -> Iterator[tuple[Row, ...] | DataError]:
        """Endless micro-batches from a position on."""
        reader = _Reader(self._source)
        first = samples + self._rank * self._batch_size
        indices = _indices(self._order, first, self._batch_size, self._batch_size * self._world_size)
        if not self._num_workers:
            return map(reader.__getitems__, indices)
        loader = DataLoader(
            reader,
            batch_sampler=indices,
            collate_fn=_as_is,
            num_workers=self._num_workers,
            prefetch_factor=BATCHES_AHEAD,
            generator=torch.Generator(),  # without one, a loader draws its base seed from the global random state
        )
        return iter(loader)


def _indices(order: RowOrder, first: int, size: int, stride: int) -> Iterator[list[int]]:
    """The row numbers of one rank's micro-batches, endless.

    No method: a generator that held its stream would close a cycle through the loader, and workers whose loader is
    freed by the cycle collector are waited for in vain, five seconds each.
    """
    while True:
        yield [order[sample] for sample in range(first, first + size)]
        first += stride


class _Reader(Dataset[Row]):
    """Reads one micro-batch, in the training process or in a worker.

    A DataError is handed back, not raised: a worker's traceback would be put before its message.
    """

    def __init__(self, source: RowSource) -> None:
        self._source = source

    def __getitem__(self, index: int) -> Row:
        return self._source[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Row, ...] | DataError:
        """The rows of one micro-batch; a name that torch's DataLoader looks for."""
        try:
            return tuple(self._source[index] for index in indices)
        except DataError as error:
            return error


def _as_is(rows: object) -> object:
    """No collation: how rows become a batch is the model family's business."""
    return rows
