"""How fast training is fed: the loader against a sequential zero-copy read of the same bytes, and against a naive reader.

    python benchmarks/loader.py [--rows 128] [--repeats 5] [--epochs 10]

Writes the same rows three times, with 1, 8 and 64 rows to a row group, and prints a line of throughput for each, then the memory of the
process epoch by epoch. A row is that of a 480p clip of 81 frames: a float16 latent [16, 21, 60, 104] and a bfloat16 text [100, 4096],
5 MB. Everything is read from the page cache, by one thread where nothing else is said. The bar and the loader take turns, so that a
machine that is busy is busy for both; a ratio is the median of those of the turns, a throughput the best.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from distill_core.data.columns import CAPTION_COLUMNS, LATENT_COLUMNS, T2V_SCHEMA, ClipRecord
from distill_core.data.dataset import open_dataset
from distill_core.data.order import Bucket
from distill_core.data.stream import RowStream
from distill_core.data.writer import open_writer

COLUMNS = [*CAPTION_COLUMNS, *LATENT_COLUMNS]
LATENT, TEXT = (16, 21, 60, 104), (100, 4096)
SHAPE = (21, 16, 60, 104)
NAIVE_ROWS = 12
"""Rows that the naive reader is timed on; it is slow."""


def record(number: int) -> ClipRecord:
    """A clip of random numbers."""
    generator = torch.Generator().manual_seed(number)
    return ClipRecord(
        id=f"clip-{number}",
        caption=f"caption {number}",
        text_LD=torch.randn(TEXT, generator=generator).bfloat16(),
        latent_CTHW=torch.randn(LATENT, generator=generator).half(),
        file_name=f"{number}.mp4",
        width=832,
        height=480,
        num_frames=81,
        fps=16.0,
    )


def write(path: Path, rows: int, group: int) -> None:
    """One file with so many rows per row group, with the pages of `distill data encode`."""
    with open_writer(path, T2V_SCHEMA) as file:
        for start in range(0, rows, group):
            numbers = range(start, min(start + group, rows))
            file.write_table(pa.Table.from_pylist([record(n).columns() for n in numbers], schema=T2V_SCHEMA))


def sequential(path: Path) -> None:
    """The bar: row group after row group, tensors in Arrow's memory, nothing checked."""
    with pq.ParquetFile(path, memory_map=True) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, COLUMNS, use_threads=False)
            for name in ("vae_latent_bytes", "text_embedding_bytes"):
                for chunk in table.column(name).chunks:
                    np.frombuffer(chunk.buffers()[2], np.uint16)


def naive(path: Path, rows: int) -> None:
    """What a data set of few lines does for a row: open the file, the whole row group to Python, convert."""
    footer = pq.read_metadata(path)
    ends = np.cumsum([footer.row_group(group).num_rows for group in range(footer.num_row_groups)])
    for row in random.Random(0).sample(range(rows), NAIVE_ROWS):
        group = int(np.searchsorted(ends, row, side="right"))
        table = pq.ParquetFile(path).read_row_group(group).to_pydict()
        place = row - (int(ends[group - 1]) if group else 0)
        torch.from_numpy(np.frombuffer(table["vae_latent_bytes"][place], np.float16).copy())
        torch.from_numpy(np.frombuffer(table["text_embedding_bytes"][place], np.int16).copy()).view(torch.bfloat16)


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Epochs:
    """Draws a shuffled epoch when called: the first, then the next ones."""

    def __init__(self, path: Path, rows: int, workers: int) -> None:
        dataset = open_dataset(path, latents=True)
        self.rows = rows
        self.stream = RowStream(dataset, [Bucket(SHAPE, np.arange(rows))], seed=0, batch_size=1, num_workers=workers)

    def __call__(self) -> None:
        """One epoch."""
        for _ in range(self.rows):
            next(self.stream)


def throughput(path: Path, group: int, rows: int, repeats: int) -> None:
    """One line of the table."""
    size = path.stat().st_size
    plain = size * NAIVE_ROWS / rows / min(seconds(lambda: naive(path, rows)) for _ in range(2))
    later, ahead = Epochs(path, rows, 0), Epochs(path, rows, 1)
    later()
    ahead()
    turns = []
    for _ in range(repeats):
        works = (lambda: sequential(path), Epochs(path, rows, 0), later, ahead)
        turns.append([size / seconds(work) for work in works])
    bar, first, again, by_thread = (max(column) for column in zip(*turns, strict=True))
    ratios = [statistics.median(turn[number] / turn[0] for turn in turns) for number in (1, 2, 3)]
    print(
        f"{group:9} {bar / 1e9:11.2f} {plain / 1e9:6.3f} {first / 1e9:12.2f} {again / 1e9:13.2f} {by_thread / 1e9:11.2f}"
        f"   {ratios[0]:.2f} / {ratios[1]:.2f} / {ratios[2]:.2f} {again / plain:9.1f}"
    )


def resident() -> float:
    """Memory of this process, MiB, without the files that are mapped into it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def memory(path: Path, rows: int, epochs: int) -> None:
    """The memory of the process after each epoch."""
    draw = Epochs(path, rows, 1)
    found = []
    for _ in range(epochs):
        draw()
        found.append(resident())
    print(
        f"memory after each of {epochs} epochs of {path.stat().st_size / 1e6:.0f} MB, MiB: {' '.join(f'{mib:.0f}' for mib in found)}"
    )


def main() -> None:
    """Print the table and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = {group: Path(folder) / f"{group}.parquet" for group in (64, 8, 1)}
        print("           GB/s                                                        loader ÷ sequential    loader")
        print("row group  sequential  naive  first epoch  later epochs  read ahead  first/later/ahead    ÷ naive")
        for group, path in paths.items():
            write(path, arguments.rows, group)
            throughput(path, group, arguments.rows, arguments.repeats)
        memory(paths[1], arguments.rows, arguments.epochs)


if __name__ == "__main__":
    main()
