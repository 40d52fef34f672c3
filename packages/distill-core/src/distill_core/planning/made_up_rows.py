"""Rows of the right shapes, of nobody's clips: what a run that is only planned reads."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_core.data.reading.tensors import DTYPES
from distill_core.planning.subject import Subject
from distill_core.plugins.columns import LATENT_DIMENSIONS, Column
from distill_core.protocols.data import Row


class MadeUpRows:
    """A data set of one row, as often as it is asked for."""

    def __init__(self, subject: Subject, count: int) -> None:
        run, (frames, channels, height, width) = subject.run, subject.latent_shape
        facts = run.facts[run.lead]
        self._count = count
        self._row = Row(
            id="made up",
            caption="a caption",
            text_LD=torch.ones(subject.text_length, facts.text_width),
            latent_CTHW=torch.zeros(channels, frames, height, width) if run.demands.latents else None,
            fps=16.0,
            tensors={column.name: _tensor(column, subject) for column in run.columns},
        )

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Row:
        return self._row

    def fingerprint(self) -> str:
        """It never changes."""
        return "made up"


def _tensor(column: Column, subject: Subject) -> Tensor:
    """Of the shape that the column has beside a latent of the subject's; a dimension of any size is as long as a caption."""
    frames, channels, height, width = subject.latent_shape
    sizes = dict(zip(LATENT_DIMENSIONS, (channels, frames, height, width), strict=True))
    shape = [each if isinstance(each, int) else sizes.get(each, subject.text_length) for each in column.dimensions]
    return torch.ones(shape, dtype=DTYPES[column.dtypes[0]])
