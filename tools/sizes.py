"""What a family's author has to write: the lines of its package that hold code, so that nobody is punished for a docstring.

``python -m tools.sizes`` prints each family's; tests/packaging/test_sizes.py holds them to a bar.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from distill_core.plugins.discovery import discover

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


@cache
def families() -> dict[str, str]:
    """The package of each family, by the family's name."""
    return {name: spec.build.partition(":")[0].rpartition(".")[0] for name, spec in discover().models.items()}


def files_of(package: str) -> Iterator[Path]:
    """The modules of a package, but for those of a family within it and of tiny folders."""
    folder = Path(next(iter(import_module(package).__path__)))
    within = [family for family in families().values() if family.startswith(f"{package}.")]
    others = [folder / family.removeprefix(f"{package}.").replace(".", "/") for family in within]
    for file in sorted(folder.rglob("*.py")):
        if file.name != TINY and not any(file.is_relative_to(other) for other in others):
            yield file


def of_family(family: str) -> dict[str, int]:
    """Lines of code of a family, by module."""
    packages = [families()[family], *([SPARSE] if family == "wan" else [])]
    return {
        str(file): code_lines(file.read_text(encoding="utf-8")) for package in packages for file in files_of(package)
    }


if __name__ == "__main__":
    for name in families():
        print(f"{name:16}{sum(of_family(name).values()):6}")
