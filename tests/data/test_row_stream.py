"""distill_core.data.reading.stream: the same rows for everybody, and after every interruption."""

from __future__ import annotations

import gc
import json
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_sets import Numbers, clip, write_clips
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_core.data.reading.bad_rows import BadRow, Quarantine
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.order import BatchOrder, Bucket, RowOrder
from distill_core.data.reading.stream import RowStream
from distill_core.durable import unsealed
from distill_core.errors import CheckpointError, DataError

sizes = st.integers(1, 12)
SHAPE = (1, 1, 1, 1)


def numbers(count: int, *, seed: int = 0, batch_size: int, bad: Sequence[int] = (), **options: Any) -> RowStream:
    """A stream of one bucket."""
    buckets = [Bucket.of(SHAPE, np.arange(count))]
    return RowStream(Numbers(count, frozenset(bad)), buckets, seed=seed, batch_size=batch_size, **options)


def sizes_as_buckets(counts: Sequence[int]) -> list[Bucket]:
    """Buckets of so many rows, numbered through; that of number b has b latent frames."""
    ends = np.cumsum(counts)
    return [
        Bucket.of((b, 1, 1, 1), np.arange(end - n, end)) for b, (n, end) in enumerate(zip(counts, ends, strict=True))
    ]


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
    stream = numbers(rows, seed=3, batch_size=batch)
    order = RowOrder(rows, 3)
    assert [row for rows in drawn(stream, batches) for row in rows] == [
        order[sample] for sample in range(batch * batches)
    ]


@given(rows=sizes, batch=st.integers(1, 4), world=st.integers(1, 4))
def test_ranks_share_the_batch_of_one_large_rank(rows: int, batch: int, world: int) -> None:
    one = numbers(rows, seed=5, batch_size=batch * world)
    ranks = [numbers(rows, seed=5, batch_size=batch * world, rank=r, world_size=world) for r in range(world)]
    for _ in range(4):
        parts = [next(rank) for rank in ranks]
        whole = next(one)
        assert [row.id for part in parts for row in part.rows] == [row.id for row in whole.rows]
        assert sum((part.positions for part in parts), ()) == whole.positions == tuple(range(batch * world))


@settings(max_examples=20)
@given(rows=sizes, batch=st.integers(1, 5))
def test_a_stream_goes_on_exactly_from_every_position(rows: int, batch: int) -> None:
    uninterrupted = drawn(numbers(rows, seed=1, batch_size=batch), 8)
    stopped = numbers(rows, seed=1, batch_size=batch)
    for step in range(8):
        resumed = numbers(rows, seed=1, batch_size=batch)
        resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
        assert drawn(resumed, 8 - step) == uninterrupted[step:]
        next(stopped)


def test_workers_change_neither_the_rows_nor_where_a_stream_goes_on() -> None:
    before = readers()
    expected = drawn(numbers(7, seed=1, batch_size=3), 9)
    stream = numbers(7, seed=1, batch_size=3, num_workers=2)
    assert drawn(stream, 5) == expected[:5]
    state = stream.state_dict()  # the workers have read ahead by now
    assert drawn(stream, 2) == expected[5:7]
    stream.load_state_dict(state)
    assert drawn(stream, 4) == expected[5:]
    stream.close()
    assert readers() <= before


def readers() -> set[threading.Thread]:
    """The threads that read, those that other tests' streams have left among them."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("distill-data")}


def test_a_stream_that_is_dropped_takes_its_workers_with_it() -> None:
    before = readers()
    stream = numbers(7, seed=1, batch_size=3, num_workers=2)
    next(stream)
    threads = readers() - before
    assert threads
    del stream
    gc.collect()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_leaves_the_global_random_state_alone(workers: int) -> None:
    before = torch.get_rng_state()
    drawn(numbers(7, seed=1, batch_size=3, num_workers=workers), 4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_parquet_rows_come_through_whole(tmp_path: Path, workers: int) -> None:
    source = open_dataset(write_clips(tmp_path, map(clip, range(5)), rows_per_file=2), latents=True)
    stream = RowStream(source, [Bucket.of(SHAPE, np.arange(5))], seed=0, batch_size=2, num_workers=workers)
    for row in [row for _ in range(4) for row in next(stream).rows]:
        record = clip(int(row.id.removeprefix("clip-")))
        assert row.latent_CTHW is not None
        assert torch.equal(row.latent_CTHW, record.latent_CTHW)
        assert torch.equal(row.text_LD, record.text_LD)
    stream.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_malformed_row_is_reported_in_one_line(workers: int) -> None:
    before = readers()
    stream = numbers(4, batch_size=4, bad=[2], num_workers=workers)
    with pytest.raises(DataError, match=r"^a\.parquet:2: id is null$"):
        next(stream)
    assert readers() <= before


def test_a_position_in_other_data_is_refused() -> None:
    state = numbers(4, batch_size=2).state_dict()
    with pytest.raises(CheckpointError, match=r"data have changed .*\(4 rows then, 5 now\)"):
        numbers(5, batch_size=2).load_state_dict(state)


def test_a_position_in_other_data_is_taken_where_that_is_accepted() -> None:
    stream = numbers(4, batch_size=2)
    next(stream)
    other, same = numbers(5, batch_size=2, any_data=True), numbers(5, batch_size=2)
    other.load_state_dict(stream.state_dict())
    next(same)
    assert next(other) == next(same)


# Buckets

counts = st.lists(sizes, min_size=1, max_size=4)


@given(counts=counts, batch=st.integers(1, 5), seed=st.integers(0, 9))
def test_every_batch_is_of_one_bucket_and_a_round_has_every_row_as_often_as_its_batches_are_long(
    counts: list[int], batch: int, seed: int
) -> None:
    order = BatchOrder(sizes_as_buckets(counts), seed, batch)
    for start in (0, sum(counts)):
        seen: Counter[int] = Counter()
        for number in range(start, start + sum(counts)):
            bucket, rows = order[number]
            assert set(rows) <= set(bucket.rows.tolist())
            seen.update(rows)
        assert seen == dict.fromkeys(range(sum(counts)), batch)


@given(counts=counts, batch=st.integers(1, 4))
def test_the_batches_of_a_bucket_are_its_rows_end_to_end(counts: list[int], batch: int) -> None:
    buckets = sizes_as_buckets(counts)
    order = BatchOrder(buckets, 6, batch)
    found: list[list[int]] = [[] for _ in buckets]
    for number in range(3 * sum(counts)):
        bucket, rows = order[number]
        found[bucket.latent_shape[0]] += rows
    for bucket, rows in zip(buckets, found, strict=True):
        alone = RowOrder(len(bucket.rows), 6)
        assert rows == [bucket.rows[alone[sample]] for sample in range(len(rows))]


@given(counts=counts, batch=st.integers(1, 4), number=st.integers(0, 60))
def test_a_batch_follows_from_its_number_alone(counts: list[int], batch: int, number: int) -> None:
    buckets = sizes_as_buckets(counts)
    walked = BatchOrder(buckets, 4, batch)
    for before in range(number):
        assert len(walked[before][1]) == batch
    assert walked[number][1] == BatchOrder(buckets, 4, batch)[number][1]


@settings(max_examples=30)
@given(
    counts=counts,
    worlds=st.lists(st.sampled_from([1, 2, 3, 4, 6, 12]), min_size=1, max_size=4),
    workers=st.integers(0, 1),
)
def test_ranks_share_each_batch_and_their_number_may_change_when_a_run_goes_on(
    counts: list[int], worlds: list[int], workers: int
) -> None:
    batch = 12
    buckets, source = sizes_as_buckets(counts), Numbers(sum(counts))
    state = RowStream(source, buckets, seed=2, batch_size=batch).state_dict()
    found: list[tuple[str, ...]] = []
    for world in worlds:
        ranks = [
            RowStream(source, buckets, seed=2, batch_size=batch, rank=rank, world_size=world, num_workers=workers)
            for rank in range(world)
        ]
        for rank in ranks:
            rank.load_state_dict(state)
        for _ in range(2):
            parts = [next(rank) for rank in ranks]
            assert sum((part.positions for part in parts), ()) == tuple(range(batch))
            assert len({part.latent_shape for part in parts}) == 1
            found.append(tuple(row.id for part in parts for row in part.rows))
        state = ranks[-1].state_dict()
        for rank in ranks:
            rank.close()
    order = BatchOrder(buckets, 2, batch)
    assert found == [tuple(map(str, order[number][1])) for number in range(len(found))]


def test_a_batch_says_the_shape_that_it_is_trained_at() -> None:
    stream = RowStream(Numbers(30), sizes_as_buckets([10, 20]), seed=0, batch_size=2)
    for _ in range(20):
        drawn_batch = next(stream)
        low = {int(row.id) < 10 for row in drawn_batch.rows}
        assert low == {drawn_batch.latent_shape == (0, 1, 1, 1)}


# Bad rows


def quarantine(path: Path, rows: int, heard: list[BadRow] | None = None, fingerprint: str = "f") -> Quarantine:
    listener = (lambda _: None) if heard is None else heard.append
    return Quarantine(path, fingerprint, rows, listener)


@pytest.mark.parametrize("workers", [0, 2])
def test_another_row_of_the_bucket_takes_the_place_of_a_bad_one(tmp_path: Path, workers: int) -> None:
    heard: list[BadRow] = []
    buckets = sizes_as_buckets([20, 30])
    kept = quarantine(tmp_path / "q.jsonl", 50, heard)
    source = Numbers(50, frozenset({3, 40}))
    stream = RowStream(source, buckets, seed=0, batch_size=3, num_workers=workers, quarantine=kept)
    whole = RowStream(Numbers(50), buckets, seed=0, batch_size=3)
    for _ in range(40):
        got, due = next(stream), next(whole)
        assert got.latent_shape == due.latent_shape
        for mine, theirs in zip(got.rows, due.rows, strict=True):
            same_bucket = (int(mine.id) < 20) == (int(theirs.id) < 20)
            assert (mine.id == theirs.id) if int(theirs.id) not in source.bad else same_bucket
            assert int(mine.id) not in source.bad
    assert sorted(row.index for row in heard) == [3, 40]
    assert heard[0].file == "a.parquet"
    stream.close()


@settings(max_examples=20)
@given(bad=st.sets(st.integers(0, 19), max_size=2), stop=st.integers(0, 9), workers=st.integers(0, 2))
def test_bad_rows_are_passed_over_alike_however_often_a_run_is_stopped(
    bad: set[int], stop: int, workers: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    straight = numbers(20, batch_size=3, bad=[*bad], quarantine=quarantine(folder / "a", 20))
    expected = drawn(straight, 10)
    first = numbers(20, batch_size=3, bad=[*bad], num_workers=workers, quarantine=quarantine(folder / "b", 20))
    assert drawn(first, stop) == expected[:stop]
    then = numbers(20, batch_size=3, bad=[*bad], quarantine=quarantine(folder / "b", 20))
    then.load_state_dict(first.state_dict())
    first.close()
    assert drawn(then, 10 - stop) == expected[stop:]


def test_a_row_stays_in_quarantine_though_it_can_be_read_by_then(tmp_path: Path) -> None:
    expected = drawn(numbers(10, batch_size=2, bad=[4], quarantine=quarantine(tmp_path / "q", 10)), 15)
    repaired = numbers(10, batch_size=2, quarantine=quarantine(tmp_path / "q", 10))
    assert drawn(repaired, 15) == expected


def test_the_list_names_file_row_and_reason_once_and_is_that_of_one_data_set(tmp_path: Path) -> None:
    drawn(numbers(10, batch_size=2, bad=[4], quarantine=quarantine(tmp_path / "q", 10)), 15)
    (line,) = (tmp_path / "q").read_text().splitlines()
    assert unsealed(line.encode(), indent=None) == {
        "data": "f",
        "index": 4,
        "file": "a.parquet",
        "row": 4,
        "reason": "id is null",
    }
    assert 4 in quarantine(tmp_path / "q", 10)
    assert 4 not in quarantine(tmp_path / "q", 10, fingerprint="g")


def test_too_many_bad_rows_are_refused(tmp_path: Path) -> None:
    stream = numbers(40, batch_size=2, bad=range(10), quarantine=quarantine(tmp_path / "q", 40))
    with pytest.raises(
        DataError, match=r"5 of 40 rows are bad, .*`distill data validate`.* a\.parquet:\d+: id is null"
    ):
        drawn(stream, 40)


def test_a_bucket_without_a_good_row_is_refused(tmp_path: Path) -> None:
    buckets = sizes_as_buckets([30, 2])
    source = Numbers(32, frozenset({30, 31}))
    stream = RowStream(source, buckets, seed=0, batch_size=2, quarantine=quarantine(tmp_path / "q", 32))
    with pytest.raises(DataError, match="no good row was found among 100"):
        drawn(stream, 40)
