"""The tables of options in the methods' READMEs, against the options themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distill_core.plugins import Options
from distill_core.plugins.discovery import discover
from distill_matching.options import GuidanceOptions

PAGES = sorted((Path(__file__).resolve().parents[2] / "packages").glob("distill-method-*/README.md"))
IN_WORDS = {"50/√D, 1", "T, 3, 120", "the run's shift", "the same", "uniform", "uniform, shifted"}
"""Defaults that a table says otherwise than as values."""


@dataclass(frozen=True)
class Said:
    """A row of such a table.

    Attributes:
        names: the options that it is about.
        default: what it says that their defaults are; None without such a column, for an empty cell, and in a row of ``name: value``.
    """

    names: tuple[str, ...]
    default: str | None


def rows(page: Path) -> Iterator[Said]:
    """Those of every table whose first column is headed ``here``."""
    head: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and head and head[0] == "here" and not cells[0].startswith("---"):
            place = next((place for place, name in enumerate(head) if name.startswith("default")), None)
            given = re.findall(r"`(\w+): [^`]+`", cells[0])
            plain = tuple(re.findall(r"`(\w+)`", cells[0]))
            default = None if place is None or given else cells[place]
            yield Said((*plain, *given), default or None)
        head = head if cells and head else cells


def flat(value: object) -> list[object]:
    return [each for one in value for each in flat(one)] if isinstance(value, tuple | list) else [value]


def means(said: str, value: object) -> bool:
    """Whether a word or a number of a table is the value."""
    if value is None:
        return said in ("null", "all")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return re.fullmatch(r"-?[\d.]+(e-?\d+)?", said) is not None and float(said) == float(value)
    return said == (str(value).lower() if isinstance(value, bool) else value)


def default_of(options: type[Options], name: str) -> object:
    """An option's; of guidance, which may be given in either convention, what comes of none."""
    value: object = options.model_fields[name].get_default(call_default_factory=True)
    if name == "guidance_scale" and value is None and issubclass(options, GuidanceOptions):
        return options().scale
    return value


def test_the_options_in_a_readmes_table_are_there_and_have_the_defaults_that_it_says() -> None:
    wrong, compared, known = [], 0, discover().methods
    for page in PAGES:
        package = page.parent.name.replace("-", "_")
        methods = [spec.options for spec in known.values() if spec.options.__module__.startswith(f"{package}.")]
        for said in rows(page):
            names = [name for name in said.names if name not in known]
            having = [options for options in methods if set(names) <= options.model_fields.keys()]
            if not having:
                wrong.append(f"{page.parent.name}, {names}: no method has these")
            elif names and said.default is not None and said.default not in IN_WORDS:
                of_each = [[each for name in names for each in flat(default_of(one, name))] for one in having]
                words, compared = said.default.split(", "), compared + 1
                if not any(len(words) == len(own) and all(map(means, words, own)) for own in of_each):
                    wrong.append(f"{page.parent.name}, {names}: {said.default} there, and the default is {of_each}")
    assert not wrong
    assert compared > 50
