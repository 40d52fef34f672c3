"""The order in which a run sees its rows: endless, seeded, the same for every number of workers and ranks."""

from __future__ import annotations

import torch

from distill_core.randomness import key_bits


class RowOrder:
    """Epoch after epoch of permutations, each keyed by (seed, epoch), put end to end without dropping a row.

    Sample s of the run, counted from 0, is row ``order[s]``. Keeps the permutation of one epoch, 8 bytes a row.
    """

    def __init__(self, rows: int, seed: int) -> None:
        assert rows > 0
        self.rows = rows
        self.seed = seed
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def __getitem__(self, sample: int) -> int:
        """The row of one sample, sample ≥ 0."""
        epoch, place = divmod(sample, self.rows)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(key_bits(self.seed, "row order", epoch))
            self._permutation = torch.randperm(self.rows, generator=generator)
            self._epoch = epoch
        return int(self._permutation[place])
