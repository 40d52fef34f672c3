"""distill_core.data.reading.plan and .mixture: which rows a run trains on, at which shape, and which it passes over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_sets import FACTS, caption, clip, write_captions, write_clips
from tests.data.data_sections import open_mixture

from distill_core.config.schema import Data
from distill_core.data.reading.columns import T2V_SCHEMA
from distill_core.data.reading.mixture import Mixture
from distill_core.data.reading.plan import DataPlan, plan_data
from distill_core.errors import DataError


def section(path: Path, **keys: Any) -> Data:
    return Data(path=str(path), **keys)


def planned(data: Data, latents: bool = True) -> tuple[Mixture, DataPlan]:
    mixture = open_mixture(data, latents)
    return mixture, plan_data(mixture, [FACTS], data)


def rows_of(plan: DataPlan) -> dict[tuple[int, ...], list[int]]:
    return {bucket.latent_shape: bucket.rows.tolist() for bucket in plan.buckets}


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Rows of three shapes, mixed, and captions of two lengths."""
    shapes = [(3, 2, 4, 4), (3, 3, 4, 4), (3, 2, 4, 4), (3, 2, 4, 8), (3, 2, 4, 4)]
    return write_clips(tmp_path / "three", [clip(n, shape, tokens=5 + n % 2) for n, shape in enumerate(shapes)])


def test_one_shape_is_one_bucket_of_all_rows_in_their_order(tmp_path: Path) -> None:
    write_clips(tmp_path, [clip(n, tokens=3 + n % 3) for n in range(9)])
    _, plan = planned(section(tmp_path))
    assert rows_of(plan) == {(2, 3, 4, 4): list(range(9))}
    assert plan.latent_shape == (2, 3, 4, 4)


def test_every_shape_is_a_bucket_and_the_largest_comes_first(three: Path) -> None:
    _, plan = planned(section(three))
    assert rows_of(plan) == {(2, 3, 4, 4): [0, 2, 4], (2, 3, 4, 8): [3], (3, 3, 4, 4): [1]}
    assert plan.latent_shape == (2, 3, 4, 4)


def test_latents_that_are_cut_to_one_length_share_a_bucket(three: Path) -> None:
    _, plan = planned(section(three, num_latent_t=2))
    assert rows_of(plan) == {(2, 3, 4, 4): [0, 1, 2, 4], (2, 3, 4, 8): [3]}


def test_data_sets_are_mixed_by_their_repeats(three: Path, tmp_path: Path) -> None:
    write_clips(tmp_path / "more", [clip(7), clip(8)])
    mixture, plan = planned(section(three, mix=({"path": str(tmp_path / "more"), "repeats": 2},)))
    assert rows_of(plan)[2, 3, 4, 4] == [0, 2, 4, 5, 5, 6, 6]
    assert [mixture[index].id for index in (0, 4, 5, 6)] == ["clip-0", "clip-4", "clip-7", "clip-8"]
    assert mixture.where(6) == (tmp_path / "more" / "data-00000.parquet", 1)
    assert mixture.captions(6) == (*(f"caption {n}" for n in range(5)), "caption 7")
    assert len(mixture) == 7


def test_another_mixture_has_another_fingerprint_and_one_data_set_its_own(three: Path, tmp_path: Path) -> None:
    write_clips(tmp_path / "more", [clip(7)])
    more = {"path": str(tmp_path / "more")}
    mixtures = [{}, {"mix": (more,)}, {"mix": ({**more, "repeats": 2},)}, {"repeats": 2}]
    prints = [planned(section(three, **keys))[0].fingerprint() for keys in mixtures]
    assert len(set(prints)) == 4
    assert prints[0] == open_mixture(section(three), latents=True).parts[0].dataset.layout()


def test_captions_alone_are_one_bucket_at_the_size_of_the_section(tmp_path: Path) -> None:
    write_captions(tmp_path, [caption(n) for n in range(3)])
    _, plan = planned(section(tmp_path, num_frames=5, num_height=32, num_width=64), latents=False)
    assert rows_of(plan) == {(2, 3, 4, 8): [0, 1, 2]}


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A null shape in row 1, channels of another model in row 3; the other 18 rows fit."""
    table = [clip(n, (4, 2, 4, 4) if n == 3 else (3, 2, 4, 4)).columns() for n in range(20)]
    table[1]["vae_latent_shape"] = None
    (tmp_path / "spoilt").mkdir()
    pq.write_table(pa.Table.from_pylist(table, schema=T2V_SCHEMA), tmp_path / "spoilt" / "a.parquet")
    return tmp_path / "spoilt"


def test_a_row_that_does_not_fit_is_refused_before_training(spoilt: Path) -> None:
    with pytest.raises(DataError, match=r"a\.parquet:1: vae_latent_shape is null"):
        planned(section(spoilt))


def test_a_row_that_does_not_fit_is_passed_over_by_name_where_the_run_says_so(spoilt: Path) -> None:
    _, plan = planned(section(spoilt, on_bad_row="skip"))
    assert rows_of(plan) == {(2, 3, 4, 4): [0, 2, *range(4, 20)]}
    assert [(row.index, row.row) for row in plan.bad] == [(1, 1), (3, 3)]
    assert "vae_latent_shape is null" in plan.bad[0].reason
    assert "they have 4 channels, the model's latents have 3" in plan.bad[1].reason


def test_data_of_which_nothing_fits_are_refused_though_bad_rows_may_be_skipped(tmp_path: Path) -> None:
    write_clips(tmp_path, [clip(n) for n in range(3)])
    data = section(tmp_path, on_bad_row="skip")
    other = replace(FACTS, latent_space=replace(FACTS.latent_space, channels=16))
    mixture = open_mixture(data, latents=True)
    with pytest.raises(DataError, match="they have 3 channels, the model's latents have 16"):
        plan_data(mixture, [other], data)
