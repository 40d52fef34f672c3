"""What a data set holds, for a person and for a program, from everything in it but its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from distill_core.data.reading.dataset import ParquetDataset, open_dataset
from distill_core.data.reading.files import read_columns
from distill_core.data.reading.kinds import Shape
from distill_core.data.reading.origin import Origin

CAPTIONS_SHOWN = 3
SHAPES_SHOWN = 12


@dataclass(frozen=True)
class Overview:
    """What a data set holds.

    Attributes:
        path: where it lies.
        schema: "T2V", "text-only", or both.
        files: how many.
        bytes: their size.
        rows: how many.
        latent_shapes: every stored [C, T, H, W] and how many rows have it: the buckets of a run that cuts nothing.
        pixels: every F, H and W that was encoded, as "FxHxW", and how many rows have it; empty where it is not recorded.
        fps: every number of frames per second, and how many rows have it.
        text_widths: every number of features of a text token.
        text_lengths: the least, the mean and the largest number of text tokens.
        captions: how many different ones.
        first_captions: a few of them.
        fingerprint: what a checkpoint knows the data by.
        origin: what it was made with, if `distill data encode` made it.
    """

    path: str
    schema: str
    files: int
    bytes: int
    rows: int
    latent_shapes: tuple[tuple[Shape, int], ...]
    pixels: Mapping[str, int]
    fps: Mapping[str, int]
    text_widths: tuple[int, ...]
    text_lengths: tuple[int, float, int]
    captions: int
    first_captions: tuple[str, ...]
    fingerprint: str
    origin: Origin | None

    def as_json(self) -> dict[str, object]:
        """As plain data."""
        shapes = [{"shape": list(shape), "rows": rows} for shape, rows in self.latent_shapes]
        return {**asdict(self), "latent_shapes": shapes}

    def lines(self) -> list[str]:
        """As lines of text."""
        least, mean, most = self.text_lengths
        widths = ", ".join(map(str, self.text_widths))
        lines = [f"{self.schema}: {self.rows} rows in {self.files} {_plural('file', self.files)}, {_size(self.bytes)}"]
        lines += ["latents [C, T, H, W]: " + (_listed([(str(list(s)), n) for s, n in self.latent_shapes]) or "none")]
        if self.pixels:
            lines.append(f"clips, frames x height x width: {_listed(self.pixels.items())}")
        if self.fps:
            lines.append(f"frames per second: {_listed(self.fps.items())}")
        lines.append(f"text: {least} to {most} tokens, {mean:.1f} on average, of {widths} features")
        lines.append(f"captions: {self.captions} different")
        lines += [f"  {caption}" for caption in self.first_captions]
        if self.origin is not None:
            made_with = {**self.origin.settings, "text_length": self.origin.text_length}
            settings = ", ".join(f"{name} {value}" for name, value in made_with.items() if value not in (None, []))
            lines.append(f"encoded with {self.origin.model} ({self.origin.family}): {settings}")
        return [*lines, f"fingerprint: {self.fingerprint}"]


def overview(path: Path) -> Overview:
    """Look at the data set at ``path``. Raises DataError if it is none."""
    dataset = open_dataset(path, latents=False)
    summary = dataset.summary()
    clips = sum(summary.latent_shapes.values())
    lengths = [(kind.text_LD[0], rows) for kind, rows in summary.kinds.items()]
    captions = Counter(_column(dataset, "caption"))
    counted = (_column(dataset, name) for name in ("num_frames", "height", "width"))
    pixels = Counter(f"{frames}x{height}x{width}" for frames, height, width in zip(*counted, strict=True))
    return Overview(
        path=str(path),
        schema="text-only" if not clips else "T2V" if clips == summary.rows else "T2V and text-only",
        files=len(dataset.files),
        bytes=sum(file.size for file in dataset.files),
        rows=summary.rows,
        latent_shapes=tuple(sorted(summary.latent_shapes.items())),
        pixels=dict(pixels.most_common()),
        fps=dict(Counter(f"{rate:g}" for rate in _column(dataset, "fps") if isinstance(rate, float)).most_common()),
        text_widths=summary.text_widths,
        text_lengths=(
            min(lengths)[0],
            sum(length * rows for length, rows in lengths) / summary.rows,
            summary.max_text_length,
        ),
        captions=len(captions),
        first_captions=dataset.captions(CAPTIONS_SHOWN),
        fingerprint=dataset.fingerprint(),
        origin=Origin.of(dataset.files[0].metadata),
    )


def _column(dataset: ParquetDataset, name: str) -> list[object]:
    """The values of a column that only some files may have, nulls left out."""
    values: list[object] = []
    for file in dataset.files:
        if name in file.columns:
            values += read_columns(file, [name]).column(name).drop_null().to_pylist()
    return values


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    """Names with their counts; of many, the first."""
    listed = [f"{name} × {rows}" for name, rows in counts]
    more = len(listed) - SHAPES_SHOWN
    return ", ".join(listed[:SHAPES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _size(count: int) -> str:
    """Bytes as people say them."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"
