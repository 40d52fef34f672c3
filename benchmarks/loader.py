"""How fast training is fed: the loader against a sequential zero-copy read of the same bytes, and against a naive reader.

    python benchmarks/loader.py [--rows 128] [--repeats 11] [--epochs 10] [--files 200] [--start-rows 1000000]

Writes the same rows with 1, 8 and 64 rows to a row group, and with 1 to one over many files, and prints a line of throughput for each,
then the memory of the process epoch by epoch, then how long a million small rows take to open without their index and with it. A row
is that of a 480p clip of 81 frames: a float16 latent [16, 21, 60, 104] and a bfloat16 text [100, 4096], 5 MB. Everything is read from the
page cache, by one thread, or ahead by two (the default of `data.num_workers`), which need a second core that is free; "CPU" is the first
epoch by the CPU time of both, which other programs have no part in: against the bar, and against the bar with each page's checksum
verified by Arrow, which the first epoch does too. The bar and the loader take turns, so that a machine that is busy is
busy for both; a ratio is the median of those of the turns, a throughput the best.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
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


def write_files(folder: Path, rows: int, files: int) -> None:
    """So many files with so many rows in all, each row a group."""
    folder.mkdir()
    for number in range(files):
        first, after = (rows * each // files for each in (number, number + 1))
        with open_writer(folder / f"{number:05}.parquet", T2V_SCHEMA) as file:
            for row in range(first, after):
                file.write_table(pa.Table.from_pylist([record(row).columns()], schema=T2V_SCHEMA))


def files_of(path: Path) -> list[Path]:
    """A file, or those of a folder."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def sequential(path: Path, *, verify: bool = False) -> None:
    """The bar: row group after row group, tensors in Arrow's memory, nothing checked; or, with ``verify``, the checksum of each page."""
    for each in files_of(path):
        with pq.ParquetFile(each, memory_map=True, page_checksum_verification=verify) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, COLUMNS, use_threads=False)
                for name in ("vae_latent_bytes", "text_embedding_bytes"):
                    for chunk in table.column(name).chunks:
                        np.frombuffer(chunk.buffers()[2], np.uint16)


def naive(path: Path) -> None:
    """What a data set of few lines does for a row: open the file, the whole row group to Python, convert."""
    path = files_of(path)[0]
    footer = pq.read_metadata(path)
    ends = np.cumsum([footer.row_group(group).num_rows for group in range(footer.num_row_groups)])
    for row in random.Random(0).choices(range(footer.num_rows), k=FEW):
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


def cpu_seconds(work: Callable[[], object]) -> float:
    """What a call takes of the processors, in all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


def throughput(path: Path, name: str, rows: int, repeats: int) -> None:
    """One line of the table."""
    size = sum(file.stat().st_size for file in files_of(path))
    plain = size / rows * FEW / min(seconds(lambda: naive(path)) for _ in range(2))
    later, ahead = Draws(path, rows, rows, 0), Draws(path, rows, rows, 2)
    later()  # every row has been verified once after this
    ahead()
    turns, cpu, checked = [], [], []
    for _ in range(repeats):
        first, first_ahead = Draws(path, rows, rows, 0), Draws(path, rows, rows, 2)
        works = (lambda: sequential(path), first, first_ahead, later, ahead)
        turns.append([size / seconds(work) for work in works])
        plainly, verified = (cpu_seconds(partial(sequential, path, verify=verify)) for verify in (False, True))
        own = cpu_seconds(Draws(path, rows, rows, 0))
        cpu.append(plainly / own)
        checked.append(verified / own)
    best = [max(column) / 1e9 for column in zip(*turns, strict=True)]
    ratios = [statistics.median(turn[number] / turn[0] for turn in turns) for number in (1, 2, 3, 4)]
    figures = " ".join(f"{each:11.2f}" for each in best)
    shares = " / ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"{name:>9} {plain / 1e9:6.3f} {figures}   {shares}   {statistics.median(cpu):.2f} / {statistics.median(checked):.2f}",
        flush=True,
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


def small(number: int) -> dict[str, object]:
    """A row that takes no room."""
    shape, text = (3, 2, 4, 4), (7, 5)
    clip = ClipRecord(f"{number}", f"{number}", torch.zeros(text), torch.zeros(shape), f"{number}.mp4", 32, 32, 5, 16.0)
    return clip.columns()


def start(folder: Path, rows: int, group: int) -> None:
    """How long many small rows take to be opened and told apart by shape: as they are, and with the index of the first time."""
    files, each = 200, rows // 200
    folder.mkdir()
    table = pa.Table.from_pylist([small(number) for number in range(each)], schema=T2V_SCHEMA)
    with open_writer(folder / "00000.parquet", T2V_SCHEMA) as file:
        for first in range(0, each, group):
            file.write_table(table.slice(first, group))
    for number in range(1, files):
        (folder / f"{number:05}.parquet").hardlink_to(folder / "00000.parquet")

    def opened() -> None:
        """All that a run asks before it reads a row."""
        dataset = open_dataset(folder, latents=True, indexed=True)
        dataset.layout()
        assert len(dataset.kinds.kinds) == 1

    print(f"{files * each} rows, {group} to a row group: {cpu_seconds(opened):.2f} s of CPU without an index", end="")
    wall = []
    cpu = [cpu_seconds(lambda: wall.append(seconds(opened))) for _ in range(3)]
    print(f", {min(cpu):.2f} s with it ({min(wall):.2f} s)", flush=True)


def main() -> None:
    """Print the table, the memory and the starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--start-rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = {group: Path(folder) / f"{group}.parquet" for group in (64, 8, 1)}
        print(
            "                            GB/s                                                loader ÷ sequential, alone / ahead"
        )
        print(
            "row group  naive  sequential first epoch       ahead       later       ahead   first epoch / later epochs / CPU"
        )
        for group, path in paths.items():
            write(path, arguments.rows, group)
            throughput(path, str(group), arguments.rows, arguments.repeats)
        write_files(Path(folder) / "files", max(arguments.rows, arguments.files), arguments.files)
        rows = max(arguments.rows, arguments.files)
        throughput(Path(folder) / "files", f"1 x {arguments.files}", rows, arguments.repeats)
        processes(paths[1], arguments.rows, arguments.repeats)
        memory(paths[1], arguments.rows, arguments.epochs)
        for group in (1000, 8):
            start(Path(folder) / f"start-{group}", arguments.start_rows, group)


if __name__ == "__main__":
    main()
