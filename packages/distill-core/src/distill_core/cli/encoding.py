"""The work of ``distill data encode``: check everything that is cheap to check, then load the encoders, then encode.

Knows the terminal and the plugins; what encoding is lies in :mod:`distill_core.data.encode`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from distill_core.data.captions import read_captions
from distill_core.data.clips import clip_rules
from distill_core.data.encode import Encoding, Fate, Listener, encode_captions, encode_videos
from distill_core.data.folder import REPORT, check_output
from distill_core.data.sources import find_sources
from distill_core.data.tensors import DTYPES
from distill_core.errors import PluginError
from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.loading import load_target
from distill_core.plugins.specs import ModelSpec

SKIPPED_SHOWN = 20
"""Skipped clips that the console lists; the report has them all."""
SECONDS_PER_LINE = 10.0
"""Where there is no terminal, seconds between two lines of progress."""


@dataclass(frozen=True)
class EncodeRequest:
    """What the command line asked for; the fields are its options. Sizes are pixels, ``fps`` frames per second."""

    source: Path
    model: str
    output: Path
    family: str | None = None
    num_frames: int | None = None
    height: int | None = None
    width: int | None = None
    fps: float | None = None
    captions: Path | None = None
    captions_only: bool = False
    dtype: str = "float32"
    overwrite: bool = False


def carry_out(request: EncodeRequest) -> None:
    """Encode, and print what became of the clips. What can be refused is refused before the encoders are loaded."""
    check_output(request.output, request.overwrite)
    entries = read_captions(request.source) if request.captions_only else []
    sources = () if request.captions_only else find_sources(request.source, request.captions)
    spec = chosen_family(discover(), request.family)
    facts = load_target(spec.inspect)(request.model)
    rules = clip_rules(facts, request.num_frames, request.height, request.width, request.fps)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = load_target(spec.build)(facts, spec.options(), device, torch.float32)
    console = Console(stderr=True)
    with _progress(console, len(entries) + len(sources)) as listener:
        encoding = Encoding(encoder, facts, DTYPES[request.dtype], listener)
        if request.captions_only:
            fates = encode_captions(entries, request.output, encoding)
        else:
            fates = encode_videos(sources, request.output, encoding, rules)
    for line in summary_lines(fates, request.output):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def chosen_family(index: PluginIndex, name: str | None) -> ModelSpec:
    """The family of that name, or the only one there is. Raises PluginError if there is none or the choice is open."""
    if name is not None:
        return index.model(name)
    if not index.models:
        raise PluginError("no model family is installed; install one, e.g. see `distill plugins list`")
    if len(index.models) > 1:
        raise PluginError(
            f"several model families are installed; say which with --family: {', '.join(sorted(index.models))}"
        )
    return next(iter(index.models.values()))


def summary_lines(fates: Sequence[Fate], output: Path) -> list[str]:
    """What became of the clips, for a person: how many, what was changed how often, and which were skipped why."""
    skipped = [fate for fate in fates if not fate.encoded]
    changes = Counter(change for fate in fates if fate.encoded for change in fate.changes)
    lines = [f"encoded {len(fates) - len(skipped)} of {len(fates)} into {output}"]
    lines += [f"  {count} × {change}" for change, count in changes.most_common(SKIPPED_SHOWN)]
    lines += [f"skipped {fate.name}: {fate.reason}" for fate in skipped[:SKIPPED_SHOWN]]
    if len(skipped) > SKIPPED_SHOWN:
        lines.append(f"and {len(skipped) - SKIPPED_SHOWN} more, see {output / REPORT}")
    lengths = {fate.latent[1] for fate in fates if fate.latent}
    if len(lengths) > 1:
        lines.append(
            f"the clips differ in length; to train on them all, set data.num_latent_t to at most {min(lengths)}"
        )
    return lines


class _RateColumn(ProgressColumn):
    """Clips per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f}/s" if task.speed else "-/s")


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Listener]:
    """Rate and time left, advanced by each fate: a bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        yield _ProgressLines(console, total)
        return
    columns = (TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), _RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)

        def listen(_: Fate) -> None:
            bar.advance(task)

        yield listen


class _ProgressLines:
    """Progress for a log file."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._started = self._printed = time.monotonic()

    def __call__(self, _: Fate) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if now - self._printed >= SECONDS_PER_LINE:
            self._printed = now
            rate = self._done / (now - self._started)
            left = timedelta(seconds=round((self._total - self._done) / rate))
            line = f"encoding {self._done}/{self._total}  {rate:.2f}/s  ETA {left}"
            self._console.print(line, highlight=False, soft_wrap=True)
