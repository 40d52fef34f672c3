"""The work of ``distill data validate`` and of ``distill data inspect --preview``: find the model, read the rows.

Knows the terminal and the plugins; what a bad row is, and what a contact sheet looks like, lies in :mod:`distill_core.data`.
"""

from __future__ import annotations

import os
from pathlib import Path

from distill_core.cli.family import ChosenModel, chosen_model
from distill_core.cli.waiting import Say, waiting
from distill_core.data.encoding.folder import PREVIEW
from distill_core.data.examining.examine import Against, Examination, examine
from distill_core.data.examining.preview import page, preview_clips
from distill_core.data.reading.columns import LATENT_COLUMNS
from distill_core.data.reading.dataset import ParquetDataset, open_dataset
from distill_core.data.reading.origin import Origin
from distill_core.errors import DataError, ModelFolderError, PluginError, RunDirectoryError
from distill_core.plugins.discovery import discover
from distill_core.protocols.adapter import DecodesLatents

ROWS_BETWEEN_SIGNS = 100
"""Rows that are read before the number on the terminal changes."""


def examine_for(path: Path, model: str | None, family: str | None, text_length: int | None, say: Say) -> Examination:
    """Every bad row of a data set, of those that do not fit ``model`` too, if there is one."""
    against: Against | None = None
    if model is not None:
        chosen = chosen_model(discover(), family, model, text_length)
        against = Against(chosen.facts, chosen.spec.name, model)

    def listen(rows: int) -> None:
        """Show a number now and then."""
        if rows % ROWS_BETWEEN_SIGNS == 0:
            say(f"reading {path}: {rows} rows")

    return examine(path, against, listen)


def show_preview(path: Path, count: int, output: Path | None, model: str | None, family: str | None) -> Path:
    """Write the contact sheet of a data set; its path. Raises DistillError for data or a model that cannot be decoded."""
    page_path = (path if path.is_dir() else path.parent) / PREVIEW if output is None else output
    _check_writable(page_path)
    with waiting("reading rows") as say:
        dataset = _with_latents(path)
        origin = Origin.of(dataset.files[0].metadata)
        chosen = _model(path, model, family, origin)
        say("loading the decoder")
        clips = []
        decoder = chosen.load().adapter
        if not isinstance(decoder, DecodesLatents):
            raise PluginError(f"model {chosen.spec.name!r} offers no decode_latents: its latents cannot be shown")
        for clip in preview_clips(dataset, count, chosen.facts, decoder):
            clips.append(clip)
            say(f"decoded {len(clips)} of {count}")
    page_path.write_text(page(f"{path}", clips), encoding="utf-8")
    return page_path


def _with_latents(path: Path) -> ParquetDataset:
    """The data set, which has something to show."""
    dataset = open_dataset(path, latents=False)
    if not all(set(LATENT_COLUMNS) <= set(file.columns) for file in dataset.files):
        raise DataError(f"{path} holds captions without latents: there are no clips to show; leave out --preview")
    return open_dataset(path, latents=True)


def _model(path: Path, model: str | None, family: str | None, origin: Origin | None) -> ChosenModel:
    """``model``, or the one that the data set at ``path`` was encoded with."""
    if model is not None:
        return chosen_model(discover(), family, model)
    if origin is None:
        raise DataError(f"{path} does not record the model that encoded it; name it with --model")
    try:
        return ChosenModel.of(discover().model(origin.family), origin.model)
    except ModelFolderError as error:
        raise ModelFolderError(f"{path} was encoded with {origin.model}: {error}; name it with --model") from error


def _check_writable(page_path: Path) -> None:
    """Raise RunDirectoryError now if the page could not be written after all the decoding."""
    if not page_path.parent.is_dir() or not os.access(page_path.parent, os.W_OK):
        raise RunDirectoryError(f"{page_path} cannot be written; name a file in a folder of yours with --output")
