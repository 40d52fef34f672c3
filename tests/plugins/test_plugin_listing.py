"""distill_core.cli.listing: ``distill plugins list`` asks no plugin while nothing has changed, and asks all of them when anything has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_sites import PluginSite, method_plugin

from distill_core import kept_plugins
from distill_core.cli.listing import Listing, listing
from distill_core.plugins import discovery
from distill_core.plugins.index import PluginIndex


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plugin_site: PluginSite) -> list[PluginIndex]:
    """What the plugins answered, each time that they were asked; the cache is this test's own, and has the plugins as they are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    answers: list[PluginIndex] = []

    def ask() -> PluginIndex:
        answers.append(discover())
        return answers[-1]

    discover = discovery.discover
    monkeypatch.setattr(discovery, "discover", ask)
    plugin_site.add("acme-turbo", method_plugin("turbo"))
    assert listed(listing())["turbo"] == "ok"
    return answers


def listed(found: Listing) -> dict[str, str]:
    """The statuses by name."""
    return {row.shown["name"]: row.status_line for row in found.rows}


def test_nothing_is_asked_twice_and_the_answer_is_the_same(asked: list[PluginIndex]) -> None:
    again = listing()
    assert len(asked) == 1
    assert [row.shown for row in again.rows] == [row.as_json() for row in asked[0].rows]
    assert [(row.hooks, row.status_line) for row in again.rows] == [(r.hooks, r.status_line) for r in asked[0].rows]
    assert again.warnings == tuple(asked[0].warnings)


def test_what_is_kept_is_told_without_a_command_line_and_is_the_same(
    asked: list[PluginIndex], plugin_site: PluginSite
) -> None:
    command = "from distill_core.cli import main; main(['plugins', 'list'])"
    program = f"import atexit, sys; atexit.register(lambda: print('typer' in sys.modules)); {command}"
    environment = plugin_site.environment()
    told = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    (*first, built), (*second, built_again) = (each.stdout.splitlines() for each in told)
    assert any("turbo" in line for line in first)
    assert first == second
    assert (built, built_again) == ("True", "False")


def _edit(site: PluginSite) -> None:
    file = site.root / "acme_turbo.py"
    file.write_text(file.read_text().replace("the method turbo", "the method TURBO"))


def _restate(site: PluginSite) -> None:
    file = site.root / "acme_turbo-1.0.dist-info" / "entry_points.txt"
    file.write_text(file.read_text().replace("turbo =", "turbot ="))


def _upgrade(site: PluginSite) -> None:
    os.rename(site.root / "acme_turbo-1.0.dist-info", site.root / "acme_turbo-1.1.dist-info")


@pytest.mark.parametrize(
    "change",
    [
        _edit,
        _restate,
        _upgrade,
        lambda site: site.add("acme-other", method_plugin("other")),
        lambda site: (site.root / "needed_by_a_plugin.py").touch(),
    ],
)
def test_whatever_changes_the_plugins_are_asked_again(
    plugin_site: PluginSite, asked: list[PluginIndex], change: Callable[[PluginSite], object]
) -> None:
    change(plugin_site)
    found = listing()
    assert len(asked) == 2
    assert [row.shown for row in found.rows] == [row.as_json() for row in asked[1].rows]


@pytest.mark.parametrize("variable", ["DISTILL_BLOCK_PLUGINS", "DISTILL_LOAD_PLUGINS"])
def test_each_block_list_and_load_list_has_a_listing_of_its_own(
    asked: list[PluginIndex], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "turbo" if "BLOCK" in variable else "finetune")
    assert listed(listing())["turbo"] == "blocked"
    monkeypatch.delenv(variable)
    assert listed(listing())["turbo"] == "ok"
    assert len(asked) == 2


def test_tracing_asks_the_plugins(asked: list[PluginIndex], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kept_plugins.TRACE, "1")
    listing()
    assert len(asked) == 2


def test_where_a_plugin_failed_all_are_asked_each_time(plugin_site: PluginSite, asked: list[PluginIndex]) -> None:
    plugin_site.add("acme-broken", "import no_such_module")
    for _ in range(2):
        assert listed(listing())["broken"].startswith("failed: ModuleNotFoundError")
    assert len(asked) == 3


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content.replace(b"turbo", b"turbA")])
def test_a_damaged_listing_is_done_without(
    asked: list[PluginIndex], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    (kept,) = (tmp_path / "cache" / "distill" / "plugins").iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert listed(listing())["turbo"] == "ok"
    assert len(asked) == 2
    listing()
    assert len(asked) == 2


def test_a_cache_that_cannot_be_written_to_is_done_without(
    asked: list[PluginIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert listed(listing())["turbo"] == "ok"
    assert len(asked) == 2
