"""What a family's author has to write: the lines of its package that hold code, so that nobody is punished for a docstring."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import pytest

from distill_core.plugins.discovery import discover

MOST = 200
MORE: Mapping[str, int] = {"wan": 1300}
"""Of Wan, which has five members, its own text packing, and its VAE with the graph."""
SPARSE = "distill_diffusers.sparse"
"""Video sparse attention, which Wan alone offers yet: it counts as Wan's."""
TINY = "testing.py"
"""Makes tiny folders for tests: nothing of it runs in a training."""
_BLANK = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source: str) -> int:
    """Lines that hold a token which is no comment and of no docstring, that of an attribute neither."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _BLANK:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED):
            for inner in node.body:
                if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant):
                    lines.difference_update(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    return len(lines)


def files_of(package: str) -> Iterator[Path]:
    """The modules of a package, but for those of a family within it and of tiny folders."""
    folder = Path(next(iter(import_module(package).__path__)))
    within = [family for family in families().values() if family.startswith(f"{package}.")]
    others = [folder / family.removeprefix(f"{package}.").replace(".", "/") for family in within]
    for file in sorted(folder.rglob("*.py")):
        if file.name != TINY and not any(file.is_relative_to(other) for other in others):
            yield file


def families() -> dict[str, str]:
    """The package of each family, by the family's name."""
    return {name: spec.build.partition(":")[0].rpartition(".")[0] for name, spec in discover().models.items()}


def sizes(package: str) -> dict[str, int]:
    """Lines of code, by module."""
    return {str(file): code_lines(file.read_text(encoding="utf-8")) for file in files_of(package)}


@pytest.mark.parametrize("family", families())
def test_a_family_is_small(family: str) -> None:
    found = sizes(families()[family])
    if family == "wan":
        found |= sizes(SPARSE)
    most = MORE.get(family, MOST)
    assert sum(found.values()) < most, "\n".join(
        (f"{family}: {sum(found.values())} of {most}", *map(str, found.items()))
    )


def test_a_line_of_code_is_one_that_a_docstring_and_a_comment_are_not() -> None:
    source = (
        '"""A\nmodule."""\n\nX = """a\nb"""  # two lines\n"""An attribute."""\n# nothing\n\n'
        'def f():\n    """It."""\n    return (\n        1\n    )\n'
    )
    assert code_lines(source) == 2 + 1 + 3
