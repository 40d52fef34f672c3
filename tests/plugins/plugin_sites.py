"""Throw-away distributions: a module and a dist-info in a folder on the path, found like anything that pip installs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from distill_core.plugins.discovery import discover
from distill_core.plugins.index import PluginIndex, PluginRow


def method_plugin(*names: str, extra: str = "", api: str = "PLUGIN_API = 2") -> str:
    """The source of a plugin module that adds one method per name. ``extra`` is indented into the hook, after the adding."""
    adding = "\n".join(
        f'    registry.add(MethodSpec("{name}", "the method {name}", Options, "no.such:Target", roles={{}}))'
        for name in names
    )
    return (
        "from distill_core.plugins import MethodSpec, Options, hookimpl\n"
        f"{api}\n"
        "@hookimpl\n"
        "def distill_register_methods(registry):\n"
        f"{adding}\n"
        f"    {extra}\n"
    )


@dataclass
class PluginSite:
    """A folder on the path that plugins are put into."""

    root: Path
    packages: list[str] = field(default_factory=list)

    def add(
        self,
        package: str,
        source: str,
        *,
        value: str | None = None,
        entry_points: dict[str, str] | None = None,
        version: str = "1.0",
        root: Path | None = None,
    ) -> str:
        """Install ``package``; its module is the package's name with underscores, unless entry points say otherwise."""
        root = self.root if root is None else root
        module = package.replace("-", "_").lower()
        root.mkdir(exist_ok=True)
        (root / f"{module}.py").write_text(source)
        if entry_points is None:
            entry_points = {package.rpartition("-")[2]: module if value is None else value}
        info = root / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        stated = "\n".join(f"{name} = {target}" for name, target in entry_points.items())
        (info / "entry_points.txt").write_text(f"[distill]\n{stated}\n")
        self.packages.append(package)
        importlib.invalidate_caches()
        return module

    def discover(self) -> PluginIndex:
        """The index of this site's packages alone."""
        index = discover()
        return PluginIndex(tuple(row for row in index.rows if row.package in self.packages), index.unmatched)

    def row(self, name: str) -> PluginRow:
        """The only row of that name."""
        (row,) = (row for row in self.discover().rows if row.name == name)
        return row

    def environment(self, **variables: str) -> dict[str, str]:
        """What a child process needs to see this site."""
        path = os.pathsep.join(filter(None, (str(self.root), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "PYTHONPATH": path, **variables}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """``distill`` in a process of its own."""
        command = [sys.executable, "-m", "distill_core", *arguments]
        return subprocess.run(command, env=self.environment(**variables), capture_output=True, text=True, check=False)
