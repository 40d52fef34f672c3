"""The zoo's tables in the pages: docs/methods.md has every row, a method package's README those of its own students."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.zoo_work import ROOT

ALL = ROOT / "docs" / "methods.md"


def pages() -> Iterator[Path]:
    """Those that have such tables."""
    yield ALL
    yield from sorted((ROOT / "packages").glob("distill-method-*/README.md"))


def renewed(page: Path, printed: str) -> str:
    """The page's text, with each table that is headed as one of the ``printed`` ones made of their rows.

    A README keeps the students that its tables have, under each budget, and of what nothing was trained of the rows that it has.
    """
    tables = {lines[0]: lines for lines in (each.splitlines() for each in printed.split("\n\n"))}
    found: list[str] = []
    of: list[str] | None = None
    for line in [*page.read_text(encoding="utf-8").split("\n"), ""]:
        if line in tables:
            of = [line]
        elif of is not None and line.startswith("|"):
            of.append(line)
        elif of is not None:
            rows = tables[of[0]]
            chosen = rows if page == ALL else [*rows[:2], *_own(rows[2:], of[2:])]
            found += [*chosen, line]
            of = None
        else:
            found.append(line)
    return "\n".join(found[:-1])


def renew(printed: str) -> None:
    """Write all pages anew."""
    for page in pages():
        page.write_text(renewed(page, printed), encoding="utf-8")


def _own(rows: list[str], there: list[str]) -> Iterator[str]:
    """The rows of the students that are there."""
    students, untrained = {_cells(line)[0] for line in there} - {"none"}, {_cells(line)[:2] for line in there}
    yield from (
        line
        for line in rows
        if _cells(line)[0] in students or (_cells(line)[0] == "none" and _cells(line)[:2] in untrained)
    )


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.split("|")[1:])
