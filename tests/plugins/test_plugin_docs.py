"""docs/hooks.md and docs/plugins.md say what is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import FunctionType

import pytest
from plugin_sites import PluginSite

from distill_core.plugins import hookspecs
from distill_core.plugins.discovery import TRACE
from distill_core.plugins.policy import BLOCK, LOAD
from distill_core.plugins.reading import HOOKS

DOCS = Path(__file__).parents[2] / "docs"
HOOKS_PAGE = (DOCS / "hooks.md").read_text(encoding="utf-8")
PLUGINS_PAGE = (DOCS / "plugins.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", HOOKS_PAGE + PLUGINS_PAGE, flags=re.DOTALL)


def signatures() -> list[str]:
    """Every hookspec as its heading has to read."""
    functions = [value for name, value in vars(hookspecs).items() if name.startswith("distill_")]
    return [
        f"{function.__name__}({', '.join(inspect.signature(function).parameters)})"
        for function in functions
        if isinstance(function, FunctionType)
    ]


def test_every_hook_has_a_heading_with_its_exact_signature() -> None:
    headings = [line.removeprefix("## ") for line in HOOKS_PAGE.splitlines() if line.startswith("## distill_")]
    assert headings == signatures()
    assert len(headings) > 0


def test_core_calls_every_hook_that_it_specifies() -> None:
    assert [signature.partition("(")[0] for signature in signatures()] == list(HOOKS)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_is_a_plugin_that_loads(plugin_site: PluginSite, number: int) -> None:
    plugin_site.add("acme-example", EXAMPLES[number])
    (row,) = plugin_site.discover().rows
    assert row.status_line == "ok"


@pytest.mark.parametrize("variable", [LOAD, BLOCK, TRACE, "DISTILL_TRACEBACK", "--no-plugin"])
def test_every_way_to_choose_is_written_down(variable: str) -> None:
    assert f"`{variable}" in PLUGINS_PAGE
