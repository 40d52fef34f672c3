"""Tables on stdout, never cut: wrapped for a person on a terminal, in plain columns for everything else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from distill_core.terminal import answer, console, shown


def plain_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns two blanks apart, without trailing blanks."""
    lines = [tuple(headers), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as stdout needs it."""
    if not sys.stdout.isatty():
        answer(plain_table(headers, rows))
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(shown(header), overflow="fold")
    for row in rows:
        table.add_row(*map(shown, row))
    console(stderr=False).print(table)
