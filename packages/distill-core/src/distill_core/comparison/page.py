"""The page of a comparison: one HTML file with the table and the clips in it, which needs no network and no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from distill_core.comparison.table import ComparisonTable
from distill_core.durable import write_text
from distill_core.printable import visible
from distill_core.redaction import redact_text
from distill_core.video.samples import embedded

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #888; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; max-width: 72rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
p { color: var(--quiet); margin: 0 0 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin-bottom: 2rem; }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.clips th, .clips td { vertical-align: middle; text-align: left; }
.clips td:first-child { white-space: normal; max-width: 16rem; }
video, img { display: block; width: 160px; image-rendering: pixelated; border-radius: 4px; background: #000; }
"""


@dataclass(frozen=True)
class PageClip:
    """One clip of the page: what it should show, the seed of its noise, and its file."""

    prompt: str
    seed: int
    path: Path


def write_page(path: Path, title: str, table: ComparisonTable, clips: Mapping[str, Sequence[PageClip]]) -> None:
    """Write the page. ``clips``: of each row of the table, the same prompts and seeds in the same order."""
    write_text(
        path,
        f"<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        f"<meta name='viewport' content='width=device-width'>\n<title>{_shown(title)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_shown(title)}</h1>\n"
        f"<p>Step {table.step}; each row from the same prompts and seeds, {table.lines[0].clips} clips.</p>\n"
        f"<div class='scroll'>{_figures(table)}</div>\n<div class='scroll'>{_players(clips)}</div>\n</body>\n</html>\n",
    )


def _figures(table: ComparisonTable) -> str:
    head = "".join(f"<th>{_shown(header)}</th>" for header in table.headers)
    body = "\n".join("<tr>" + "".join(f"<td>{_shown(cell)}</td>" for cell in row) + "</tr>" for row in table.cells)
    return f"<table class='figures'>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _players(clips: Mapping[str, Sequence[PageClip]]) -> str:
    head = "".join(f"<th>{_shown(name)}</th>" for name in clips)
    rows = "\n".join(
        f"<tr><td>{_shown(row[0].prompt)}</td>" + "".join(f"<td>{_player(clip)}</td>" for clip in row) + "</tr>"
        for row in zip(*clips.values(), strict=True)
    )
    return f"<table class='clips'>\n<thead><tr><th></th>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _player(clip: PageClip) -> str:
    return embedded(clip.path, _shown(f"{clip.prompt}, seed {clip.seed}"))


def _shown(text: str) -> str:
    """A text as the page has it: a page is made to be passed on, so secrets are taken out, and nothing acts."""
    return escape(visible(redact_text(text)), quote=True)
