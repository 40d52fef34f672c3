"""A contact sheet: some latents of a data set decoded again, as one HTML file that needs no network and no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from distill_core.data.reading.dataset import ParquetDataset
from distill_core.data.reading.files import read_columns
from distill_core.data.reading.latents import Normalizer
from distill_core.errors import DataError
from distill_core.plugins.specs import ModelFacts
from distill_core.printable import visible
from distill_core.protocols.adapter import DecodesLatents
from distill_core.video.samples import embedded, write_sample

FALLBACK_FPS = 16.0
"""Frames per second of clips whose rows do not record it."""

_STYLE = """
:root { color-scheme: light dark; --quiet: #888; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; max-width: 80rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
p, small { color: var(--quiet); }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1.2rem; }
figure { margin: 0; }
figcaption { margin-top: .3rem; overflow-wrap: anywhere; }
small { display: block; }
video, img { display: block; width: 100%; image-rendering: pixelated; border-radius: 4px; background: #000; }
"""


@dataclass(frozen=True)
class PreviewClip:
    """One clip of the sheet: the row that it is, and what it is decoded to.

    Attributes:
        name: the row's id.
        caption: its caption.
        facts: its shapes and rate, in words.
        html: what shows it.
    """

    name: str
    caption: str
    facts: str
    html: str


def preview_clips(
    dataset: ParquetDataset, count: int, facts: ModelFacts, decoder: DecodesLatents
) -> Iterator[PreviewClip]:
    """Decode ``count`` rows, spread evenly over the data set, which is read with its latents.

    Raises DataError for a row that is malformed or does not fit the model of ``facts``.
    """
    rates, normalised = _rates(dataset), Normalizer(facts.latent_space, torch.device("cpu"))
    with TemporaryDirectory() as folder:
        for index in spread(len(dataset), count):
            row = dataset[index]
            assert row.latent_CTHW is not None, "the data set is opened with its latents"
            C, T, H, W = row.latent_CTHW.shape
            if misfit := facts.misfit((C, T, H, W)):
                raise DataError(
                    f"row {row.id} does not fit {facts.path}: {misfit}; name the model that encoded it with --model"
                )
            latents_BTCHW = normalised([row], (T, C, H, W))
            assert latents_BTCHW is not None, "the row has a latent"
            frames = decoder.decode_latents(latents_BTCHW)[0]
            path = write_sample(Path(folder) / "clip", frames, rates[index])
            size = f"{frames.shape[2]}x{frames.shape[1]}"
            shown = (
                f"{len(frames)} frames of {size} at {rates[index]:g} fps" if len(frames) > 1 else f"a picture of {size}"
            )
            words = f"latent {[C, T, H, W]} · {shown}"
            yield PreviewClip(row.id, row.caption, words, embedded(path, _shown(row.caption)))


def spread(rows: int, count: int) -> list[int]:
    """``count`` row numbers, or all, evenly over the data set."""
    count = min(rows, count)
    return [place * rows // count for place in range(count)]


def page(title: str, clips: Sequence[PreviewClip]) -> str:
    """The sheet."""
    figures = "\n".join(map(_figure, clips))
    return (
        f"<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        f"<meta name='viewport' content='width=device-width'>\n<title>{_shown(title)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_shown(title)}</h1>\n"
        f"<p>{len(clips)} rows, decoded from their latents: what will be trained on.</p>\n<main>\n{figures}\n</main>\n"
        "</body>\n</html>\n"
    )


def _figure(clip: PreviewClip) -> str:
    return (
        f"<figure>{clip.html}"
        f"<figcaption>{_shown(clip.caption)}<small>{_shown(clip.name)}</small><small>{_shown(clip.facts)}</small></figcaption></figure>"
    )


def _shown(text: str) -> str:
    """A text as the page has it."""
    return escape(visible(text), quote=True)


def _rates(dataset: ParquetDataset) -> list[float]:
    """Frames per second of every row."""
    rates: list[float] = []
    for file in dataset.files:
        known = read_columns(file, ["fps"]).column("fps").to_pylist() if "fps" in file.columns else [None] * file.rows
        rates += [FALLBACK_FPS if not rate else float(rate) for rate in known]
    return rates
