"""The packages as a user gets them: wheels with real version ranges, installed into a fresh environment."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from tests.commands.conftest import REPOSITORY

from distill_importers.plugin import NAMES

LIBRARIES = ("distill-core", "distill-diffusers", "distill-matching")
"""Packages that are no plugin."""

PACKAGES = sorted((REPOSITORY / "packages").iterdir())


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_has_what_a_wheel_needs(package: Path) -> None:
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))
    module = package / "src" / package.name.replace("-", "_")
    assert (module / "py.typed").exists()
    assert len((package / "README.md").read_text(encoding="utf-8").splitlines()) > 5
    assert "build-system" in project, "uv installs nothing of a member without one, and says nothing"
    dependencies = project["project"]["dependencies"]
    assert all(">=" in each and "<" in each for each in dependencies), dependencies
    if package.name != "distill-core":
        assert "distill-core>=0.1.0,<0.2" in dependencies
    if package.name not in LIBRARIES:
        assert project["project"]["entry-points"]["distill"]
    named = {
        line.split("|")[1].split("(")[0].strip()
        for line in (package / "README.md").read_text().splitlines()
        if "|" in line
    }
    missing = [each for each in dependencies if each.split(">")[0].split("[")[0] not in named]
    assert not missing, f"README.md gives no reason for {missing}"


@pytest.mark.slow
def test_the_wheels_work_in_a_fresh_environment(tmp_path: Path) -> None:
    wheels, venv = tmp_path / "wheels", tmp_path / "venv"
    build = ["uv", "build", "--all-packages", "--wheel", "--out-dir", str(wheels)]
    subprocess.run(build, cwd=REPOSITORY, check=True, timeout=600)
    built = sorted(wheels.glob("*.whl"))
    assert len(built) == len(PACKAGES)
    assert all(any(name.endswith("/licenses/LICENSE") for name in ZipFile(wheel).namelist()) for wheel in built)
    subprocess.run(["uv", "venv", "--python", sys.executable, str(venv)], check=True, timeout=300)
    python = venv / "bin" / "python"
    subprocess.run(["uv", "pip", "install", "--python", str(python), *map(str, built)], check=True, timeout=900)
    listed = subprocess.run(
        [venv / "bin" / "distill", "plugins", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    rows = [line.split() for line in listed.stdout.splitlines()[1:]]
    plugins = {package.name for package in PACKAGES} - set(LIBRARIES)
    assert {(row[2], row[-1]) for row in rows} == {(name, "ok") for name in plugins}
    assert {row[0] for row in rows} >= {"wan", "dmd2", "finetune", "shapes", *NAMES}
    subprocess.run([venv / "bin" / "distill", "plugins", "check"], cwd=tmp_path, timeout=600, check=True)
