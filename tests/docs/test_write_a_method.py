"""docs/write-a-method.md: the package that it shows is built, installed, listed, and trains."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands.conftest import REPOSITORY, clips, encoded, tiny  # noqa: F401  fixtures
from tests.docs.page_packages import install_page, package_files

from distill_core.config.document import write_yaml

PAGE = REPOSITORY / "docs" / "write-a-method.md"


def run(site: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own that sees the installed package."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "distill_core", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package was installed into by pip's own rules."""
    return install_page(PAGE, tmp_path_factory.mktemp("turbo"))


def test_the_package_has_under_sixty_lines_of_its_own() -> None:
    files = package_files(PAGE)
    modules = {f"distill_method_turbo/{name}.py" for name in ("__init__", "plugin", "method")}
    assert set(files) == {"pyproject.toml", *modules}
    code = [line for name, text in files.items() if name.endswith(".py") for line in text.splitlines() if line.strip()]
    assert len(code) < 60


@pytest.mark.xdist_group("turbo")
def test_it_is_listed_and_works_with_the_family(site: Path, tmp_path: Path) -> None:
    listed = run(site, "plugins", "list", cwd=tmp_path)
    assert re.search(r"turbo\s+method\s+distill-method-turbo\s+0\.1\.0\s+ok", listed.stdout), listed
    checked = run(site, "plugins", "check", cwd=tmp_path)
    assert checked.returncode == 0, checked
    assert "timesteps" in run(site, "plugins", "show", "turbo", cwd=tmp_path).stdout


@pytest.mark.xdist_group("turbo")
def test_it_trains(site: Path, tiny: Path, encoded: Path, tmp_path: Path) -> None:  # noqa: F811
    roles = {"student": {"path": str(tiny)}, "teacher": {"path": str(tiny), "trainable": False}}
    turbo = {
        "recipe": {"family": "wan", "method": "turbo"},
        "roles": roles,
        "data": {"path": str(encoded)},
        "training": {"max_train_steps": 3, "train_batch_size": 2},
        "tracking": {"log_interval": 1},
        "output_dir": "run",
    }
    (tmp_path / "run.yaml").write_text(write_yaml(turbo), encoding="utf-8")
    trained = run(site, "run", "run.yaml", cwd=tmp_path)
    assert trained.returncode == 0, trained
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("regression") == 3
    misspelt = run(site, "run", "run.yaml", "method_config.timestep=[500]", cwd=tmp_path)
    assert misspelt.returncode == 2
    assert "timesteps" in misspelt.stderr


@pytest.mark.xdist_group("turbo")
def test_it_keeps_the_contract_as_the_page_tests_it(site: Path, tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(from distill_core\.testing.*?)```", text, flags=re.DOTALL)
    (tmp_path / "test_turbo.py").write_text(example, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_turbo.py"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout
