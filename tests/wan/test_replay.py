"""Training gives the numbers that it gave before plugin API 2, as far as another machine can tell: the net under every move of the house.

On one machine :mod:`tests.wan.replay` compares bits; it says which differ, and why.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.wan.replay import World, losses, settings

FIGURES = json.loads((Path(__file__).parent / "replay_figures.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("replay"))


@pytest.mark.parametrize("name", FIGURES)
def test_losses_and_gradient_norms_are_those_of_before(world: World, name: str) -> None:
    found = losses(world.run(name, dict(settings())[name], validate=False))
    assert len(found) == len(FIGURES[name])
    for ours, before in zip(found, FIGURES[name], strict=True):
        assert ours == pytest.approx(before, rel=2e-4, abs=1e-6)
