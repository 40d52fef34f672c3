"""distill_core.data.stream: the same rows for everybody, and after every interruption."""

from __future__ import annotations

import gc
import json
import os
import signal
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from data_sets import clip, write_clips
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_core.data.dataset import open_dataset
from distill_core.data.order import RowOrder
from distill_core.data.stream import RowStream
from distill_core.errors import CheckpointError, DataError
from distill_core.protocols import Row

sizes = st.integers(1, 12)


@dataclass(frozen=True)
class Numbers:
    """A data set whose row i has the id "i"; ``bad`` is malformed, ``deadly`` ends its process."""

    count: int
    bad: int = -1
    deadly: int = -1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Row:
        if index == self.bad:
            raise DataError(f"a.parquet, row {index}: id is null")
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return Row(id=str(index), caption="", text_LD=torch.full((1, 1), float(index)))

    def fingerprint(self) -> str:
        return f"{self.count} numbers"


def drawn(stream: RowStream, batches: int) -> list[list[int]]:
    """The row numbers of the next micro-batches."""
    return [[int(row.id) for row in next(stream).rows] for _ in range(batches)]


@given(rows=sizes, seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_each_epoch_is_a_permutation(rows: int, seed: int, epoch: int) -> None:
    order = RowOrder(rows, seed)
    assert sorted(order[epoch * rows + place] for place in range(rows)) == list(range(rows))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first, second, other = (
        [RowOrder(50, seed)[start + i] for i in range(50)] for seed, start in ((0, 0), (0, 50), (1, 0))
    )
    assert first != second
    assert first != other
    assert first != list(range(50))


@given(rows=sizes, batch=sizes, batches=st.integers(1, 8))
def test_no_row_is_dropped_where_epochs_meet(rows: int, batch: int, batches: int) -> None:
    stream = RowStream(Numbers(rows), seed=3, batch_size=batch)
    order = RowOrder(rows, 3)
    assert [row for rows in drawn(stream, batches) for row in rows] == [
        order[sample] for sample in range(batch * batches)
    ]


@given(rows=sizes, batch=st.integers(1, 4), world=st.integers(1, 4))
def test_ranks_share_the_batch_of_one_large_rank(rows: int, batch: int, world: int) -> None:
    one = RowStream(Numbers(rows), seed=5, batch_size=batch * world)
    ranks = [RowStream(Numbers(rows), seed=5, batch_size=batch, rank=r, world_size=world) for r in range(world)]
    for _ in range(4):
        parts = [next(rank) for rank in ranks]
        whole = next(one)
        assert [row.id for part in parts for row in part.rows] == [row.id for row in whole.rows]
        assert sum((part.positions for part in parts), ()) == whole.positions == tuple(range(batch * world))


@settings(max_examples=20)
@given(rows=sizes, batch=st.integers(1, 5))
def test_a_stream_goes_on_exactly_from_every_position(rows: int, batch: int) -> None:
    uninterrupted = drawn(RowStream(Numbers(rows), seed=1, batch_size=batch), 8)
    stopped = RowStream(Numbers(rows), seed=1, batch_size=batch)
    for step in range(8):
        resumed = RowStream(Numbers(rows), seed=1, batch_size=batch)
        resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
        assert drawn(resumed, 8 - step) == uninterrupted[step:]
        next(stopped)


def test_workers_change_neither_the_rows_nor_where_a_stream_goes_on() -> None:
    source = Numbers(7)
    expected = drawn(RowStream(source, seed=1, batch_size=3), 9)
    stream = RowStream(source, seed=1, batch_size=3, num_workers=2)
    assert drawn(stream, 5) == expected[:5]
    state = stream.state_dict()  # the workers have read ahead by now
    assert drawn(stream, 2) == expected[5:7]
    stream.load_state_dict(state)
    assert drawn(stream, 4) == expected[5:]
    stream.close()
    assert active_children() == []


def test_a_stream_that_is_dropped_takes_its_workers_with_it() -> None:
    stream = RowStream(Numbers(7), seed=1, batch_size=3, num_workers=2)
    next(stream)
    assert len(active_children()) == 2
    gc.disable()
    try:
        del stream
        assert active_children() == []
    finally:
        gc.enable()


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_leaves_the_global_random_state_alone(workers: int) -> None:
    before = torch.get_rng_state()
    drawn(RowStream(Numbers(7), seed=1, batch_size=3, num_workers=workers), 4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_parquet_rows_come_through_whole(tmp_path: Path, workers: int) -> None:
    source = open_dataset(write_clips(tmp_path, map(clip, range(5)), rows_per_file=2), latents=True)
    stream = RowStream(source, seed=0, batch_size=2, num_workers=workers)
    for row in [row for _ in range(4) for row in next(stream).rows]:
        record = clip(int(row.id.removeprefix("clip-")))
        assert row.latent_CTHW is not None
        assert torch.equal(row.latent_CTHW, record.latent_CTHW)
        assert torch.equal(row.text_LD, record.text_LD)
    stream.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_malformed_row_is_reported_in_one_line(workers: int) -> None:
    stream = RowStream(Numbers(4, bad=2), seed=0, batch_size=4, num_workers=workers)
    with pytest.raises(DataError, match=r"^a\.parquet, row 2: id is null$"):
        next(stream)
    assert active_children() == []


def test_a_worker_that_dies_is_reported() -> None:
    stream = RowStream(Numbers(4, deadly=2), seed=0, batch_size=4, num_workers=1)
    with pytest.raises(DataError, match=r"a process that reads data died: .*set data\.num_workers to 0"):
        next(stream)


def test_a_position_in_other_data_is_refused() -> None:
    state = RowStream(Numbers(4), seed=0, batch_size=2).state_dict()
    with pytest.raises(CheckpointError, match=r"data have changed .*\(4 rows then, 5 now\)"):
        RowStream(Numbers(5), seed=0, batch_size=2).load_state_dict(state)
