"""Every file is one idea of at most 400 lines, every function fits a screen: in the packages, their tests, the benchmarks."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

from tests.commands.conftest import REPOSITORY

LINES, SCREEN = 400, 60


def sources(*places: str) -> list[Path]:
    """What git holds or would take, so that a build's leftovers do not count."""
    listed = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        *(f"{place}*.py" for place in places),
    ]
    names = subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split()
    return [path for name in names if (path := REPOSITORY / name).exists()]


def lengths_of_functions(source: str) -> dict[str, int]:
    """Name and number of lines, without decorators, of each function and method; what lies within one is shorter."""
    body = ast.parse(source).body
    for node in body:
        if isinstance(node, ast.ClassDef):
            body.extend(node.body)
    functions = [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno}


def test_no_file_is_longer_than_400_lines() -> None:
    found = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources("")}
    assert len(found) > 500
    assert {str(path.relative_to(REPOSITORY)): lines for path, lines in found.items() if lines > LINES} == {}


def test_no_function_of_a_package_is_longer_than_a_screen() -> None:
    longer = {
        f"{path.name}: {name}"
        for path in sources("packages/")
        for name, lines in lengths_of_functions(path.read_text(encoding="utf-8")).items()
        if lines > SCREEN
    }
    assert longer == set()


def test_a_functions_lines_are_those_of_its_definition() -> None:
    source = "@one\ndef a(\n    b,\n):\n    def c(): ...\n\nclass D:\n    async def e(self): ...\n"
    assert lengths_of_functions(source) == {"a": 4, "e": 1}
