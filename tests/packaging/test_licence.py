"""Every package may be used: its licence is said, in its wheel, and those of its dependencies are known."""

from __future__ import annotations

import subprocess
import tomllib
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
from tests.commands.conftest import REPOSITORY
from tools.licences import Licence, installed_with, licence_of

PACKAGES = sorted((REPOSITORY / "packages").iterdir())
every_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


def project_of(package: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def described(folder: Path, *lines: str) -> Licence:
    """What a package says of its licence with these lines in its metadata."""
    made = folder / "some-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("\n".join(("Metadata-Version: 2.4", "Name: some", "Version: 1.0", *lines, "")))
    return licence_of(PathDistribution(made))


@every_package
def test_a_package_is_under_the_licence_of_the_repository(package: Path) -> None:
    project = project_of(package)
    assert (package / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    assert project["authors"] == [{"name": "The distill authors"}]
    assert project["keywords"]


@every_package
def test_a_package_has_the_addresses_of_the_repository(package: Path) -> None:
    root = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project_of(package).get("urls", {}) == root["tool"]["distill"]["urls"]


def test_a_wheel_holds_the_licence(tmp_path: Path) -> None:
    command = ["uv", "build", "--package", "distill-method-finetune", "--wheel", "--out-dir", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=300, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (licence,) = (name for name in opened.namelist() if name.endswith("dist-info/licenses/LICENSE"))
        (metadata,) = (name for name in opened.namelist() if name.endswith("dist-info/METADATA"))
        assert b"Apache License" in opened.read(licence)
        assert "License-Expression: Apache-2.0" in opened.read(metadata).decode()


@pytest.mark.parametrize(
    ("lines", "expression", "permitted"),
    [
        (["License-Expression: MIT"], "MIT", True),
        (["License-Expression: GPL-3.0-only"], "GPL-3.0-only", False),
        (["License-Expression: GPL-3.0-only OR MIT"], "GPL-3.0-only OR MIT", True),
        (["License-Expression: Apache-2.0 AND GPL-2.0-only"], "Apache-2.0 AND GPL-2.0-only", False),
        (["License: Apache 2.0 License"], "Apache-2.0", True),
        (["Classifier: License :: OSI Approved :: MIT License"], "MIT", True),
        (["Classifier: License :: OSI Approved :: GNU General Public License (GPL)"], "GNU General Public License (GPL)", False),
        ([], "", False),
    ],
)  # fmt: skip
def test_a_licence_is_what_the_metadata_say(tmp_path: Path, lines: list[str], expression: str, permitted: bool) -> None:
    found = described(tmp_path, *lines)
    assert (found.expression, found.permitted) == (expression, permitted)


def test_dependencies_of_dependencies_and_of_extras_are_followed() -> None:
    found = installed_with(["distill-core"])
    assert {"torch", "sympy", "tensorboard", "markdown"} <= set(found)
    assert "ruff" not in found
