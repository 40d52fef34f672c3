"""Columns that a family or a method declares: read with each row, checked against its latent, refused with what makes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from data_sets import SPACE, clip
from torch import Tensor

from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.examining.examine import examine
from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import T2V_SCHEMA, with_columns
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.tensors import tensor_columns
from distill_core.errors import DataError
from distill_core.plugins import Column
from distill_core.testing.toy import ToyText
from distill_core.training.batches import Batches

PATH = Column("path", ("S", "T", "C", "H", "W"), "the teacher's states", "run `acme paths`")
WORSE = Column("worse", ("C", "T", "H", "W"), "the clip that people liked less", "run `acme pairs`", latent=True)
CPU = torch.device("cpu")


class OneWord:
    """An adapter to which every row says the same."""

    def prepare_condition(self, rows: object) -> ToyText:
        return ToyText(torch.zeros(2, 4))


def written(folder: Path, columns: Iterable[Column], *rows: dict[str, Tensor]) -> Path:
    """Clips of [3, 2, 4, 4], each with further tensors."""
    with ParquetWriter(folder, with_columns(T2V_SCHEMA, tuple(columns))) as writer:
        for number, tensors in enumerate(rows):
            extra = [tensor_columns(name, tensor) for name, tensor in tensors.items()]
            writer.add({**clip(number).columns(), **{key: value for each in extra for key, value in each.items()}})
    return folder


def path_of(states: int = 5, frames: int = 2) -> Tensor:
    return torch.arange(states * frames * 3 * 4 * 4, dtype=torch.float32).view(states, frames, 3, 4, 4)


def test_a_row_carries_its_declared_tensors_and_its_rate(tmp_path: Path) -> None:
    dataset = open_dataset(written(tmp_path, [PATH], {"path": path_of()}), latents=True, declared=[PATH])
    assert dataset[0].tensors["path"].equal(path_of())
    assert dataset[0].fps == clip(0).fps
    assert open_dataset(tmp_path, latents=True)[0].tensors == {}


def test_data_that_lack_a_column_are_refused_with_what_makes_it(tmp_path: Path) -> None:
    written(tmp_path, [PATH], {"path": path_of()})
    with pytest.raises(
        DataError, match=r"lacks what this run needs of each row: worse \[C, T, H, W\] .*: run `acme pairs`"
    ):
        open_dataset(tmp_path, latents=True, declared=[PATH, WORSE])


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(5, 2, 3, 4), r"path has the shape \[5, 2, 3, 4\]; \[S, T, C, H, W\] is due"),
        (path_of(frames=3), r"path has the shape .* is due, with T = 2"),
        (path_of() * torch.nan, "path holds NaN"),
    ],
)
def test_a_tensor_that_is_not_the_column_makes_its_row_bad(tmp_path: Path, tensor: Tensor, words: str) -> None:
    dataset = open_dataset(written(tmp_path, [PATH], {"path": tensor}), latents=True, declared=[PATH])
    with pytest.raises(BadRowError, match=words):
        dataset[0]


def test_another_dtype_than_declared_makes_a_row_bad(tmp_path: Path) -> None:
    exact = Column("path", PATH.dimensions, PATH.meaning, PATH.made_by, dtypes=("float64",))
    dataset = open_dataset(written(tmp_path, [exact], {"path": path_of()}), latents=True, declared=[exact])
    with pytest.raises(BadRowError, match="path has the dtype 'float32'; float64 is due"):
        dataset[0]


def test_a_batch_stacks_them_cuts_their_frames_and_normalises_raw_latents(tmp_path: Path) -> None:
    raw = torch.full((3, 2, 4, 4), 7.0)
    rows = [{"path": path_of(), "worse": raw}, {"path": path_of() + 1, "worse": raw}]
    dataset = open_dataset(written(tmp_path, [PATH, WORSE], *rows), latents=True, declared=[PATH, WORSE])
    space = SPACE.__class__(3, 4, 8, mean=(1.0, 2.0, 3.0), std=(2.0,) * 3)
    batches = Batches({"toy": OneWord()}, space, CPU, [PATH, WORSE])
    batch = batches.prepare([dataset[0], dataset[1]], (1, 3, 4, 4))
    assert batch.tensors["path"].equal(torch.stack([path_of()[:, :1], path_of()[:, :1] + 1]))
    assert batch.tensors["worse"].shape == (2, 1, 3, 4, 4)
    assert batch.tensors["worse"][0, 0, :, 0, 0].tolist() == [3.0, 2.5, 2.0]


def test_rows_of_several_shapes_make_no_batch(tmp_path: Path) -> None:
    rows = [{"path": path_of(5)}, {"path": path_of(6)}]
    dataset = open_dataset(written(tmp_path, [PATH], *rows), latents=True, declared=[PATH])
    batches = Batches({"toy": OneWord()}, SPACE, CPU, [PATH])
    with pytest.raises(DataError, match=r"path of several shapes, \[5, 2, 3, 4, 4\], \[6, 2, 3, 4, 4\]"):
        batches.prepare([dataset[0], dataset[1]], (2, 3, 4, 4))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (Column("vae_latent", ("C",), "", ""), "is in every data set"),
        (Column("two words", ("C",), "", ""), "is no name of a column"),
        (Column("worse", ("T", "C", "H", "W"), "", "", latent=True), "is a raw latent, so its dimensions are"),
    ],
)
def test_a_column_that_cannot_be_declared_says_why(column: Column, words: str) -> None:
    assert words in str(column.fault())


def test_validation_reads_every_further_tensor(tmp_path: Path) -> None:
    good, bad = {"path": path_of()}, {"path": path_of() * torch.inf}
    found = examine(written(tmp_path, [PATH], good, bad), None, lambda _: None)
    assert [(fault.row, fault.reason) for fault in found.faults] == [(1, "path holds NaN or infinity")]
