"""The fixture ``plugin_site``: distributions made on the fly, gone after the test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_sites import PluginSite


@pytest.fixture
def plugin_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginSite]:
    """An empty folder on the path; what is imported from it is forgotten afterwards. No plugin variable is set."""
    for variable in ("DISTILL_LOAD_PLUGINS", "DISTILL_BLOCK_PLUGINS", "DISTILL_TRACE_PLUGINS"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    root = tmp_path / "site"
    root.mkdir()
    monkeypatch.syspath_prepend(root)
    before = set(sys.modules)
    yield PluginSite(root)
    for name in set(sys.modules) - before:
        origin = sys.modules[name].__dict__.get("__file__")
        if origin is not None and Path(origin).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache is a folder of this test's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
