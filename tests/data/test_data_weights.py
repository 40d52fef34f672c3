"""distill_core.data.reading.apportionment, .order and .plan under data.weights: shares of the samples, and no row starved."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import FACTS, Numbers, clip, write_clips
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.data_sections import open_mixture

from distill_core.config.schema import Data
from distill_core.data.reading.apportionment import apportioned
from distill_core.data.reading.bad_rows import Quarantine
from distill_core.data.reading.order import BatchOrder, Bucket, Stratum
from distill_core.data.reading.plan import plan_data
from distill_core.data.reading.stream import RowStream

weights = st.fractions(Fraction(1, 1000), 1000, max_denominator=1000)
SHAPE = (1, 1, 1, 1)


@given(parts=st.lists(weights, min_size=1, max_size=9), count=st.integers(0, 10**9))
def test_parts_are_their_shares_to_within_half_a_unit_per_doubling(parts: list[Fraction], count: int) -> None:
    found = apportioned(count, parts)
    assert sum(found) == count
    bound = Fraction((len(parts) - 1).bit_length(), 2)
    assert all(abs(part - count * weight / sum(parts)) <= bound for part, weight in zip(found, parts, strict=True))


@given(parts=st.lists(weights, min_size=1, max_size=9), count=st.integers(0, 10**6), more=st.integers(0, 50))
def test_no_part_is_smaller_for_a_larger_count(parts: list[Fraction], count: int, more: int) -> None:
    before, after = apportioned(count, parts), apportioned(count + more, parts)
    assert all(early <= late for early, late in zip(before, after, strict=True))


def test_whole_shares_are_whole() -> None:
    assert apportioned(10 * 60, [Fraction(10), Fraction(20), Fraction(30)]) == [100, 200, 300]
    assert apportioned(6, [Fraction("0.7"), Fraction("0.3")]) == [4, 2]
    assert apportioned(60, [Fraction("0.7"), Fraction("0.3")]) == [42, 18]


sets = st.lists(st.tuples(st.integers(1, 12), weights), min_size=2, max_size=4)


def weighted(sizes: list[tuple[int, Fraction]]) -> Bucket:
    """Data sets of so many rows and such weights, numbered through, all of one shape."""
    ends = list(accumulate(size for size, _ in sizes))
    rows = [np.arange(end - size, end) for end, (size, _) in zip(ends, sizes, strict=True)]
    return Bucket(SHAPE, tuple(Stratum(mine, weight) for mine, (_, weight) in zip(rows, sizes, strict=True)))


def samples(bucket: Bucket, seed: int, count: int) -> list[int]:
    order = BatchOrder([bucket], seed, 1)
    return [row for batch in range(count) for row in order[batch][1]]


@settings(max_examples=60)
@given(sizes=sets, seed=st.integers(0, 99), epochs=st.integers(1, 6))
def test_after_each_epoch_every_set_has_its_share_to_within_one_sample(
    sizes: list[tuple[int, Fraction]], seed: int, epochs: int
) -> None:
    bucket = weighted(sizes)
    epoch = len(bucket.rows)
    drawn = samples(bucket, seed, epochs * epoch)
    for end in range(epoch, epochs * epoch + 1, epoch):
        counts = Counter(drawn[:end])
        for stratum in bucket.strata:
            found = sum(counts[row] for row in stratum.rows.tolist())
            assert abs(found - end * stratum.weight / bucket.weight) <= 1


@settings(max_examples=60)
@given(sizes=sets, seed=st.integers(0, 99), count=st.integers(1, 200))
def test_at_any_time_the_rows_of_a_set_have_been_drawn_equally_often_to_within_one(
    sizes: list[tuple[int, Fraction]], seed: int, count: int
) -> None:
    bucket = weighted(sizes)
    counts = Counter(samples(bucket, seed, count))
    for stratum in bucket.strata:
        times = [counts[row] for row in stratum.rows.tolist()]
        assert max(times) - min(times) <= 1


def test_sets_take_turns_at_random_and_each_goes_its_own_way() -> None:
    bucket = weighted([(20, Fraction(1)), (20, Fraction(1))])
    drawn = samples(bucket, 0, 80)
    sides = [row >= 20 for row in drawn]
    assert sides not in ([False, True] * 40, [False] * 20 + [True] * 20 + [False] * 20 + [True] * 20)
    first, second = ([row % 20 for row in drawn if (row >= 20) == side] for side in (False, True))
    assert first != second
    assert samples(bucket, 1, 80) != drawn
    assert drawn[:40] != drawn[40:]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips of two shapes, and three of one of them."""
    folder = tmp_path_factory.mktemp("two")
    write_clips(folder / "many", [clip(n, (3, 2, 4, 4) if n < 7 else (3, 3, 4, 4)) for n in range(10)])
    write_clips(folder / "few", [clip(n) for n in range(20, 23)])
    return folder


def section(folder: Path, **keys: Any) -> Data:
    """Three of four samples are to be of the large set."""
    mix = [{"path": str(folder / "few")}]
    return Data.model_validate(
        {"path": str(folder / "many"), "mix": mix, "weights": {"many": 0.75, "few": 0.25}, **keys}
    )


def stream(folder: Path, batch_size: int = 2, **options: Any) -> RowStream:
    data = section(folder)
    mixture = open_mixture(data, latents=True)
    return RowStream(mixture, plan_data(mixture, [FACTS], data).buckets, seed=3, batch_size=batch_size, **options)


def ids(rows: RowStream, batches: int) -> list[list[str]]:
    """What the next micro-batches hold."""
    return [[row.id for row in batch.rows] for batch in islice(rows, batches)]


def test_a_set_has_its_share_over_all_shapes_and_each_shape_what_it_has_of_the_set(two: Path) -> None:
    data = section(two)
    buckets = {bucket.latent_shape[0]: bucket for bucket in plan_data(open_mixture(data, True), [FACTS], data).buckets}
    assert [[stratum.rows.tolist() for stratum in bucket.strata] for bucket in (buckets[2], buckets[3])] == [
        [list(range(7)), [10, 11, 12]],
        [[7, 8, 9]],
    ]
    weighed = [[stratum.weight for stratum in bucket.strata] for bucket in (buckets[2], buckets[3])]
    assert weighed == [[Fraction(3, 4) * Fraction(7, 10), Fraction(1, 4)], [Fraction(3, 4) * Fraction(3, 10)]]
    counts = Counter(name for batch in ids(stream(two), 13 * 40) for name in batch)
    few = sum(counts[f"clip-{n}"] for n in range(20, 23))
    assert abs(few - 13 * 40 * 2 / 4) <= 4
    assert {round(counts[f"clip-{n}"] / (13 * 40 * 2 * 0.075), 1) for n in range(10)} == {1.0}


def test_the_shape_with_the_most_samples_is_the_one_to_sample_at(two: Path, tmp_path: Path) -> None:
    write_clips(tmp_path / "few", [clip(n, (3, 3, 4, 4)) for n in range(2)])
    shapes = []
    for few in (0.01, 0.99):
        data = section(two, mix=[{"path": str(tmp_path / "few")}], weights={"many": 1 - few, "few": few})
        shapes.append(plan_data(open_mixture(data, True), [FACTS], data).latent_shape[0])
    assert shapes == [2, 3]


@settings(max_examples=25)
@given(stop=st.integers(0, 40), batch=st.integers(1, 5), workers=st.sampled_from([0, 2]))
def test_a_weighted_stream_goes_on_exactly_from_every_position(two: Path, stop: int, batch: int, workers: int) -> None:
    uninterrupted = stream(two, batch)
    due = ids(uninterrupted, stop + 6)[stop:]
    stopped, resumed = stream(two, batch, num_workers=workers), stream(two, batch, num_workers=workers)
    ids(stopped, stop)
    resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    assert ids(resumed, 6) == due
    for each in (stopped, resumed):
        each.close()


def test_ranks_of_a_weighted_stream_share_the_batches_of_one(two: Path) -> None:
    one = ids(stream(two, 6), 10)
    ranks = [ids(stream(two, 6, rank=rank, world_size=3), 10) for rank in range(3)]
    assert [[*first, *second, *third] for first, second, third in zip(*ranks, strict=True)] == one


def test_weights_in_another_unit_are_the_same_data_and_other_weights_are_others(two: Path) -> None:
    kinds = ({"many": 0.75, "few": 0.25}, {"many": 3, "few": 1}, {"many": 0.7, "few": 0.3}, None)
    prints = [open_mixture(section(two, weights=each), True).fingerprint() for each in kinds]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_a_row_of_the_same_set_takes_the_place_of_a_bad_one_if_there_is_a_good_one(tmp_path: Path) -> None:
    bucket = weighted([(30, Fraction(1)), (12, Fraction(1)), (1, Fraction(1, 10))])
    good = RowStream(Numbers(43), [bucket], seed=0, batch_size=1)
    kept = Quarantine(tmp_path / "q.jsonl", "f", 43, lambda _: None)
    spoilt = RowStream(Numbers(43, frozenset({3, 35, 42})), [bucket], seed=0, batch_size=1, quarantine=kept)
    for _ in range(300):
        due, got = (int(next(each).rows[0].id) for each in (good, spoilt))
        assert got not in (3, 35, 42)
        if due != 42:  # the only one of its set
            assert (got < 30) == (due < 30)
    assert len(kept) == 3
