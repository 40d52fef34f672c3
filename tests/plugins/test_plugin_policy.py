"""What may be loaded is decided before anything is imported, by any name that is known then."""

from __future__ import annotations

import sys

import pytest
from plugin_sites import PluginSite, method_plugin

from distill_core.plugins.policy import LoadPolicy, block


@pytest.fixture
def two_plugins(plugin_site: PluginSite) -> PluginSite:
    """Package acme-pack with entry point "pack" and methods turbo and slow; package acme-other with the method other."""
    plugin_site.add("acme-pack", method_plugin("turbo", "slow"))
    plugin_site.add("acme-other", method_plugin("other"))
    return plugin_site


def statuses(site: PluginSite) -> dict[str, str]:
    """Status by name."""
    return {row.name: row.status for row in site.discover().rows}


@pytest.mark.parametrize("name", ["pack", "acme-pack", "Acme_Pack"])
def test_a_blocked_plugin_is_a_row_and_is_never_imported(
    two_plugins: PluginSite, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DISTILL_BLOCK_PLUGINS", name)
    assert statuses(two_plugins) == {"pack": "blocked", "other": "ok"}
    assert "acme_pack" not in sys.modules
    assert two_plugins.row("pack").error == "by --no-plugin or DISTILL_BLOCK_PLUGINS"


def test_a_spec_is_blocked_by_its_own_name(two_plugins: PluginSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_BLOCK_PLUGINS", "turbo, nobody")
    assert statuses(two_plugins) == {"turbo": "blocked", "slow": "ok", "other": "ok"}
    assert two_plugins.discover().unmatched == ("nobody",)


def test_blocking_one_side_of_a_conflict_settles_it(plugin_site: PluginSite, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_site.add("acme-one", method_plugin("turbo"))
    plugin_site.add("acme-two", method_plugin("turbo"))
    monkeypatch.setenv("DISTILL_BLOCK_PLUGINS", "acme-two")
    assert {row.package: row.status for row in plugin_site.discover().rows} == {"acme-one": "ok", "acme-two": "blocked"}


def test_an_empty_allowlist_loads_nothing(two_plugins: PluginSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "")
    assert statuses(two_plugins) == {"pack": "blocked", "other": "blocked"}
    assert two_plugins.row("pack").error == "not in DISTILL_LOAD_PLUGINS"
    assert not {"acme_pack", "acme_other"} & set(sys.modules)


@pytest.mark.parametrize("name", ["pack", "acme-pack"])
def test_an_allowlist_loads_the_named_plugin_and_imports_no_other(
    two_plugins: PluginSite, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", name)
    monkeypatch.setenv("DISTILL_BLOCK_PLUGINS", "nobody")
    assert statuses(two_plugins) == {"turbo": "ok", "slow": "ok", "other": "blocked"}
    assert "acme_other" not in sys.modules


def test_an_allowlist_may_name_a_spec(two_plugins: PluginSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "turbo")
    assert statuses(two_plugins) == {"turbo": "ok", "slow": "blocked", "other": "blocked"}
    assert two_plugins.discover().unmatched == ()


def test_a_broken_plugin_that_is_not_on_the_allowlist_is_blocked_and_not_failed(
    two_plugins: PluginSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_plugins.add("acme-broken", "import nothing_of_that_name")
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "turbo")
    assert statuses(two_plugins)["broken"] == "blocked"


def test_blocking_wins_over_allowing(two_plugins: PluginSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "pack")
    monkeypatch.setenv("DISTILL_BLOCK_PLUGINS", "acme-pack")
    assert statuses(two_plugins) == {"pack": "blocked", "other": "blocked"}


def test_the_environment_tells_an_empty_allowlist_from_none() -> None:
    assert LoadPolicy.of({}).allowed is None
    assert LoadPolicy.of({"DISTILL_LOAD_PLUGINS": ""}).allowed == frozenset()
    assert LoadPolicy.of({"DISTILL_BLOCK_PLUGINS": " a_b , C,"}).blocked == {"a-b", "c"}


def test_blocking_adds_to_what_is_blocked_already() -> None:
    environment = {"DISTILL_BLOCK_PLUGINS": "a"}
    block(environment, ["b", "c"])
    block(environment, [])
    assert environment == {"DISTILL_BLOCK_PLUGINS": "a,b,c"}
