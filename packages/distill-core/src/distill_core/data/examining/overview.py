"""What a data set holds, for a person and for a program, from everything in it but its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from distill_core.data.reading.dataset import ParquetDataset, open_dataset
from distill_core.data.reading.files import read_columns, texts_of
from distill_core.data.reading.kinds import Shape
from distill_core.data.reading.origin import Origin

CAPTIONS_SHOWN = 3
SHAPES_SHOWN = 12
KEY_SHOWN = 12
"""Digits of an encoder's key that a person is shown; `--json` has all."""


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
        fingerprint: the same for two data sets whose files hold the same.
        origin: what its first file was made with, if `distill data encode` made it.
        further_origins: what other files of it were made with, one for each set of encoders.
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
    further_origins: tuple[Origin, ...] = ()

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
        lines += [f"  {' '.join(caption.split())}" for caption in self.first_captions]
        if self.origin is not None:
            lines += [f"encoded with {_made_with(self.origin)}", _encoders(self.origin)]
        for other in self.further_origins:
            lines += [f"other files of it were encoded with {_made_with(other)}", _encoders(other)]
        return [*lines, f"fingerprint: {self.fingerprint}"]


def overview(path: Path) -> Overview:
    """Look at the data set at ``path``. Raises DataError if it is none."""
    dataset = open_dataset(path, latents=False)
    summary = dataset.summary()
    clips = sum(summary.latent_shapes.values())
    lengths = [(kind.text_LD[0], rows) for kind, rows in summary.kinds.items()]
    captions = {caption for file in dataset.files if file.rows for caption in texts_of(file, "caption")}
    pixels = Counter("x".join(map(str, sizes)) for sizes in _together(dataset, ("num_frames", "height", "width")))
    origins = [origin for file in dataset.files if (origin := Origin.of(file.metadata)) is not None]
    by_encoders = {origin.encoders: origin for origin in reversed(origins)}
    return Overview(
        path=str(path),
        schema="text-only" if not clips else "T2V" if clips == summary.rows else "T2V and text-only",
        files=len(dataset.files),
        bytes=sum(file.size for file in dataset.files),
        rows=summary.rows,
        latent_shapes=tuple(sorted(summary.latent_shapes.items())),
        pixels=dict(pixels.most_common()),
        fps=dict(Counter(_rate(rate) for (rate,) in _together(dataset, ("fps",))).most_common()),
        text_widths=summary.text_widths,
        text_lengths=(
            min(lengths)[0],
            sum(length * rows for length, rows in lengths) / summary.rows,
            summary.max_text_length,
        ),
        captions=len(captions),
        first_captions=dataset.captions(CAPTIONS_SHOWN),
        fingerprint=dataset.fingerprint(),
        origin=origins[0] if origins else None,
        further_origins=tuple(origin for origin in origins[1:] if by_encoders[origin.encoders] is origin),
    )


def _together(dataset: ParquetDataset, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """The values of each row in columns that only some files may have; rows that lack one are left out."""
    for file in dataset.files:
        if all(file.columns.count(name) == 1 for name in names):
            table = read_columns(file, names)
            for values in zip(*(table.column(name).to_pylist() for name in names), strict=True):
                if None not in values:
                    yield values


def _made_with(origin: Origin) -> str:
    """The model and the settings of an origin."""
    settings = {**origin.settings, "text_length": origin.text_length}
    listed = ", ".join(f"{name} {value}" for name, value in settings.items() if value not in (None, []))
    return f"{origin.model} ({origin.family}): {listed}"


def _encoders(origin: Origin) -> str:
    """Its encoders, by the beginnings of their keys: of each, or of all together where they are not told apart."""
    keys = origin.parts or {"not told apart": origin.encoders}
    return "  encoders: " + ", ".join(f"{name} {key[:KEY_SHOWN]}" for name, key in keys.items())


def _rate(value: object) -> str:
    """A number of frames per second, or what stands in its place."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


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
