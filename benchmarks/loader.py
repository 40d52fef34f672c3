"""How fast training is fed: the loader against a sequential zero-copy read of the same bytes, and against a naive reader.

    python benchmarks/loader.py [--rows 128] [--repeats 11] [--epochs 10]

Writes the same rows three times, with 1, 8 and 64 rows to a row group, and prints a line of throughput for each, then the memory of the
process epoch by epoch. A row is that of a 480p clip of 81 frames: a float16 latent [16, 21, 60, 104] and a bfloat16 text [100, 4096],
5 MB. Everything is read from the page cache, by one thread, or ahead by two (the default of `data.num_workers`), which need a second core
that is free. The bar and the loader take turns, so that a machine that is busy is busy for both; a ratio is the median of those of the
turns, a throughput the best.
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
from torch.utils.data import DataLoader, Dataset

from distill_core.data.encoding.writer import open_writer
from distill_core.data.reading.columns import CAPTION_COLUMNS, LATENT_COLUMNS, T2V_SCHEMA, ClipRecord
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.order import Bucket
from distill_core.data.reading.stream import RowStream
from distill_core.protocols import Row

COLUMNS = [*CAPTION_COLUMNS, *LATENT_COLUMNS]
LATENT, TEXT = (16, 21, 60, 104), (100, 4096)
SHAPE = (21, 16, 60, 104)
FEW = 16
"""Rows that are drawn where a row takes long."""


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
    for row in random.Random(0).sample(range(rows), FEW):
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


class Draws:
    """Draws so many rows in shuffled order when called, and goes on from there when called again."""

    def __init__(self, path: Path, rows: int, draws: int, workers: int) -> None:
        dataset = open_dataset(path, latents=True)
        self.draws = draws
        self.stream = RowStream(dataset, [Bucket.of(SHAPE, np.arange(rows))], seed=0, batch_size=1, num_workers=workers)

    def __call__(self) -> None:
        """The next rows."""
        for _ in range(self.draws):
            next(self.stream)


def throughput(path: Path, group: int, rows: int, repeats: int) -> None:
    """One line of the table. Of large row groups fewer rows are drawn: each takes a whole group's time."""
    row_bytes = path.stat().st_size / rows
    draws = rows if group == 1 else FEW
    plain = row_bytes * FEW / min(seconds(lambda: naive(path, rows)) for _ in range(2))
    later, ahead = Draws(path, rows, draws, 0), Draws(path, rows, draws, 2)
    for _ in range(rows // draws):  # every row has been verified once after this
        later()
        ahead()
    turns = []
    for _ in range(repeats):
        first = Draws(path, rows, draws, 0)
        works = (lambda: sequential(path), first, later, ahead)
        turns.append([row_bytes * (draws if work is not works[0] else rows) / seconds(work) for work in works])
    bar, once, again, by_thread = (max(column) for column in zip(*turns, strict=True))
    ratios = [statistics.median(turn[number] / turn[0] for turn in turns) for number in (1, 2, 3)]
    print(
        f"{group:9} {bar / 1e9:11.2f} {plain / 1e9:6.3f} {once / 1e9:12.2f} {again / 1e9:13.2f} {by_thread / 1e9:11.2f}"
        f"   {ratios[0]:.2f} / {ratios[1]:.2f} / {ratios[2]:.2f} {again / plain:9.1f}"
    )


class Rows(Dataset[Row]):
    """The rows of a file as torch's DataLoader wants them."""

    def __init__(self, path: Path, rows: int) -> None:
        self.dataset = open_dataset(path, latents=True)
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> Row:
        return self.dataset[index]


def processes(path: Path, rows: int, repeats: int) -> None:
    """The same rows through torch's DataLoader with two worker processes, which threads were chosen over."""
    threads = Draws(path, rows, rows, 2)
    loader = DataLoader(Rows(path, rows), shuffle=True, num_workers=2, collate_fn=list, persistent_workers=True)

    def epoch() -> None:
        for _ in loader:
            pass

    epoch()
    threads()
    turns = [(seconds(threads), seconds(epoch)) for _ in range(repeats)]
    quick, slow = (path.stat().st_size / min(column) / 1e9 for column in zip(*turns, strict=True))
    print(f"read ahead by two threads {quick:.2f} GB/s, by two processes of torch's DataLoader {slow:.2f} GB/s")


def resident() -> float:
    """Memory of this process, MiB, without the files that are mapped into it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def memory(path: Path, rows: int, epochs: int) -> None:
    """The memory of the process after each epoch."""
    draw = Draws(path, rows, rows, 2)
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
    parser.add_argument("--repeats", type=int, default=11)
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
        processes(paths[1], arguments.rows, arguments.repeats)
        memory(paths[1], arguments.rows, arguments.epochs)


if __name__ == "__main__":
    main()
