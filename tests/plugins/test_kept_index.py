"""distill_core.plugins.kept_index: only plugins that are named are imported, and no answer is another than that of asking all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from plugin_sites import PluginSite, method_plugin

from distill_core.errors import PluginError
from distill_core.plugins import discovery
from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.kept_index import KeptIndex, installed

ODD = "\n".join(
    (
        "import os",
        "from distill_core.plugins import MethodSpec, Options, hookimpl",
        "PLUGIN_API = 2",
        "@hookimpl",
        "def distill_register_methods(registry):",
        "    name = os.environ.get('ACME_NAME', 'odd')",
        "    registry.add(MethodSpec(name, 'a method that goes by its environment', Options, 'no.such:Target', roles={}))",
    )
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plugin_site: PluginSite) -> list[PluginIndex]:
    """What all plugins answered, each time that all were asked; two are installed and kept, and neither is imported any more."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plugin_site.add("acme-turbo", method_plugin("turbo"))
    plugin_site.add("acme-odd", ODD)
    assert not isinstance(installed(), KeptIndex)
    forget()
    answers: list[PluginIndex] = []

    def ask() -> PluginIndex:
        answers.append(discover())
        return answers[-1]

    monkeypatch.setattr(discovery, "discover", ask)
    return answers


def forget() -> None:
    """As if neither had been imported."""
    for name in ("acme_turbo", "acme_odd"):
        sys.modules.pop(name, None)


def test_what_is_named_is_imported_and_nothing_else(asked: list[PluginIndex]) -> None:
    index = installed()
    assert index.method("turbo").summary == "the method turbo"
    assert index.method("turbo") is index.method("turbo")
    assert ("acme_turbo" in sys.modules, "acme_odd" in sys.modules, asked) == (True, False, [])


def test_its_rows_and_warnings_are_those_of_asking_all(
    asked: list[PluginIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_BLOCK_PLUGINS", "turbo, nobody")
    installed(), forget()
    index = installed()
    assert isinstance(index, KeptIndex)
    assert index.rows == discover().rows
    assert [row.as_json() for row in index.rows] == [row.as_json() for row in discover().rows]
    assert index.warnings == discover().warnings != ()


@pytest.mark.parametrize("name", ["turbot", "wan"])
def test_a_name_that_nobody_has_is_refused_in_the_words_of_asking_all(asked: list[PluginIndex], name: str) -> None:
    with pytest.raises(PluginError) as whole:
        discover().method(name)
    with pytest.raises(PluginError) as kept:
        installed().method(name)
    assert str(kept.value) == str(whole.value)


def test_what_needs_all_asks_all_once(asked: list[PluginIndex]) -> None:
    index = installed()
    assert {"turbo", "odd"} <= index.methods.keys()
    assert index.models.keys() == discover().models.keys()
    assert [row.spec is not None for row in index.named("acme-odd")] == [True]
    assert len(asked) == 1


def test_a_plugin_that_offers_other_than_it_did_is_asked_with_all(
    asked: list[PluginIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_NAME", "even")
    index = installed()
    assert index.method("even").name == "even"
    with pytest.raises(PluginError, match="There is no method 'odd'"):
        index.method("odd")
    assert len(asked) == 1
    assert installed().method("even").name == "even"


def test_a_plugin_that_fails_now_is_refused_with_its_reason(
    asked: list[PluginIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_NAME", "no name")
    with pytest.raises(PluginError, match="is no name: use letters"):
        installed().method("odd")
