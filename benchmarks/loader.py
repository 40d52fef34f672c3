"""How fast training is fed: the loader against a sequential zero-copy read of the same bytes, and against a naive reader.

``python benchmarks/loader.py`` writes a data set for each number of rows per row group, of the same rows, and prints one table of
throughput and one of memory. Rows are those of a 480p clip of 81 frames by default: a float16 latent [16, 21, 60, 104] and a
bfloat16 text [100, 4096], 5 MB. Everything is read from the page cache; each figure is the best of ``--repeats``.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from distill_core.data.columns import CAPTION_COLUMNS, LATENT_COLUMNS, T2V_SCHEMA, ClipRecord
from distill_core.data.dataset import open_dataset
from distill_core.data.order import Bucket
from distill_core.data.stream import RowStream

COLUMNS = [*CAPTION_COLUMNS, *LATENT_COLUMNS]
LATENT, TEXT = (16, 21, 60, 104), (100, 4096)
SHAPE = (21, 16, 60, 104)


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


def write(path: Path, rows: int, group: int) -> int:
    """One file with so many rows per row group, as `distill data encode` lays pages out; returns its bytes."""
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    with pq.ParquetWriter(path, T2V_SCHEMA, **options) as file:
        for start in range(0, rows, group):
            numbers = range(start, min(start + group, rows))
            file.write_table(pa.Table.from_pylist([record(n).columns() for n in numbers], schema=T2V_SCHEMA))
    return path.stat().st_size


def sequential(path: Path) -> None:
    """The bar: row group after row group, tensors in Arrow's memory, nothing checked."""
    with pq.ParquetFile(path, memory_map=True) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, COLUMNS, use_threads=False)
            for name, dtype in (("vae_latent", np.float16), ("text_embedding", np.uint16)):
                for value in table.column(f"{name}_bytes"):
                    np.frombuffer(value.as_buffer(), dtype)


def naive(path: Path, rows: int) -> None:
    """What a data set of few lines does for one row: open the file, the whole row group to Python, convert."""
    ends = np.cumsum(
        [pq.read_metadata(path).row_group(g).num_rows for g in range(pq.read_metadata(path).num_row_groups)]
    )
    for row in random.Random(0).sample(range(rows), min(rows, 24)):
        group = int(np.searchsorted(ends, row, side="right"))
        table = pq.ParquetFile(path).read_row_group(group).to_pydict()
        place = row - (int(ends[group - 1]) if group else 0)
        torch.from_numpy(np.frombuffer(table["vae_latent_bytes"][place], np.float16).copy())
        torch.from_numpy(np.frombuffer(table["text_embedding_bytes"][place], np.int16).copy()).view(torch.bfloat16)


def best(work: Callable[[], object], repeats: int) -> float:
    """The seconds of the quickest of several calls."""
    return min(_timed(work) for _ in range(repeats))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def drawing(path: Path, rows: int, workers: int) -> Iterator[Callable[[], None]]:
    """A call that draws one shuffled epoch, the first of a fresh stream and then the next ones of it."""
    dataset = open_dataset(path, latents=True)
    stream = RowStream(dataset, [Bucket(SHAPE, np.arange(rows))], seed=0, batch_size=1, num_workers=workers)

    def epoch() -> None:
        for _ in range(rows):
            next(stream)

    while True:
        yield epoch


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = {group: Path(folder) / f"{group}.parquet" for group in (1, 8, 64)}
        sizes = {group: write(path, arguments.rows, group) for group, path in paths.items()}
        print(f"{arguments.rows} rows, {sizes[1] / arguments.rows / 1e6:.2f} MB each, shuffled; GB/s of rows")
        print("row group  sequential  naive  loader: first epoch  later epochs  read ahead by 1  ÷ sequential  ÷ naive")
        for group, path in paths.items():
            throughput(path, sizes[group], group, arguments)
        memory(paths[1], arguments)


def throughput(path: Path, size: int, group: int, arguments: argparse.Namespace) -> None:
    """One line of the first table."""
    rows = arguments.rows
    bar = size / best(lambda: sequential(path), arguments.repeats)
    plain = size * min(rows, 24) / rows / best(lambda: naive(path, rows), 2)
    first = size / min(_timed(next(drawing(path, rows, 0))) for _ in range(arguments.repeats))
    later = {}
    for workers in (0, 1):
        calls = drawing(path, rows, workers)
        next(calls)()
        later[workers] = size / min(_timed(next(calls)) for _ in range(arguments.repeats))
    print(
        f"{group:9}  {bar / 1e9:10.2f}  {plain / 1e9:5.2f}  {first / 1e9:19.2f}  {later[0] / 1e9:12.2f}  "
        f"{later[1] / 1e9:15.2f}  {max(later.values()) / bar:12.2f}  {max(later.values()) / plain:7.1f}"
    )


def memory(path: Path, arguments: argparse.Namespace) -> None:
    """The second table: the most memory that the process has had, epoch by epoch."""
    calls = drawing(path, arguments.rows, 1)
    peaks = []
    for _ in range(arguments.epochs):
        next(calls)()
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(f"peak memory after each of {arguments.epochs} epochs, MiB: {' '.join(f'{peak:.0f}' for peak in peaks)}")


if __name__ == "__main__":
    main()
