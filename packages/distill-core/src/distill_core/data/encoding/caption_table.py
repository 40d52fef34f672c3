"""Tables of captions as spreadsheets write them: fields apart by commas, semicolons or tabs. Knows no video, and not which column is what.

Nothing is guessed of a row: one that has more fields than the header, or that a quote swallows, is a fault of its line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import StringIO

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may stand between two fields, and what it is called."""


@dataclass(frozen=True)
class TableRow:
    """One row below the header.

    Attributes:
        line: the last line of the file that it takes, from 1.
        fields: what stands in it, by column; "" in a column that it does not reach.
        fault: why it cannot be understood, or "".
    """

    line: int
    fields: dict[str, str]
    fault: str = ""


@dataclass(frozen=True)
class Table:
    """A table's header, and what follows it.

    Attributes:
        columns: their names, as they are written.
        separator: what stands between two fields.
        rows: those that hold anything.
    """

    columns: tuple[str, ...]
    separator: str
    rows: tuple[TableRow, ...]


def read_table(text: str, known: Collection[str]) -> Table:
    """The table in a text; the separator is that which finds a column of ``known`` names in the header."""
    stated = re.match(r"sep=(.)\n", text)  # a spreadsheet's own way of saying it
    header = 1 if stated is None else 2
    lines = text.split("\n")
    heads = {each: _head(lines[header - 1] if len(lines) >= header else "", each) for each in SEPARATORS}
    fitting = [each for each, names in heads.items() if any(name.lower() in known for name in names)]
    separator = stated[1] if stated is not None and stated[1] in heads else next(iter(fitting), ",")
    body = "\n".join(lines[header:])
    columns = heads[separator]
    return Table(columns, separator, tuple(_rows(body, columns, separator, header)))


def _head(line: str, separator: str) -> tuple[str, ...]:
    """The columns of a header; those at its end that have no name are none."""
    try:
        names = next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True), [])
    except csv.Error:
        names = [line]
    stripped = [name.strip() for name in names]
    while stripped and not stripped[-1]:
        stripped.pop()
    return tuple(stripped)


def _rows(body: str, columns: tuple[str, ...], separator: str, above: int) -> Iterator[TableRow]:
    """The rows of a table whose header ends at line ``above``."""
    reader = csv.reader(StringIO(body, newline="\n"), delimiter=separator, skipinitialspace=True, strict=True)
    begins = above + 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            why = "a quote is left open" if "unexpected end" in str(error) else _said(error)
            yield TableRow(begins, {}, f'{why}; a quote inside quotes is written twice, "a ""red"" ball"')
            return
        if fields is None:
            return
        line = above + reader.line_num
        filled = [field.strip() for field in fields]
        if any(filled[len(columns) :]):
            yield TableRow(line, {}, _too_many(len(fields), columns, separator))
        elif any(filled) or len(fields) == 1:  # a row of separators alone says nothing
            yield TableRow(line, dict(zip(columns, filled + [""] * len(columns), strict=False)))
        begins = line + 1


def _said(error: csv.Error) -> str:
    """What is wrong with a row, from the csv module's own words."""
    if "field larger" in str(error):
        return f"a field is longer than {csv.field_size_limit():,} characters; is a quote left open?"
    return f"something follows a closing quote ({error})"


def _too_many(fields: int, columns: tuple[str, ...], separator: str) -> str:
    """Why a row has too many fields."""
    return (
        f"it has {fields} fields, the header {len(columns)} ({', '.join(columns)}); put a text that holds {SEPARATORS[separator]} "
        "between double quotes"
    )
