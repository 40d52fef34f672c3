"""Every YAML of the examples is a run that the installed plugins understand."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_core.config.chosen import ChosenPlugins
from distill_core.config.load import load_run
from distill_core.plugins.discovery import discover

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_a_shipped_yaml_obeys_the_schema_and_its_plugins_options(path: Path) -> None:
    run = load_run(path)
    assert ChosenPlugins(run.document, discover()).problems == []
