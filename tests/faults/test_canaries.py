"""What would leave a mark if it were run is not run: some canaries by every push, all of them by night."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from tests.faults.canaries import Canary, sing, table, wrong
from tests.faults.canary_inputs import BOMBS, Bomb, canaries
from tests.faults.canary_models import model_canaries

EVERY = 21
"""Of the toy world's canaries every so many is sung by the fast tests."""


def test_some_canaries_of_each_kind_are_not_run(tmp_path: Path) -> None:
    planted = canaries(tmp_path)
    chosen = planted[::EVERY] + [each for each in planted if each.name == "in a run"]
    found = sing(chosen, tmp_path)
    assert wrong(found) == []
    assert {sung.canary.kind for sung in found} == {each.kind for each in planted}


@pytest.mark.nightly
def test_no_canary_in_any_kind_of_input_is_run(tmp_path: Path) -> None:
    found = sing([*canaries(tmp_path), *model_canaries(tmp_path)], tmp_path)
    print(table(found))
    assert wrong(found) == []
    assert sum(sung.canary.planted for sung in found) > 250


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_that_is_read_wrongly_leaves_its_mark(tmp_path: Path, bomb: str) -> None:
    held: list[bytes] = []

    def plant(shell: str, code: str) -> None:
        held.append(pickle.dumps(BOMBS[bomb](shell, code)))

    canary = Canary("a pickle", bomb, plant, lambda: pickle.loads(held[-1]) and None)
    (sung,) = sing([canary], tmp_path)
    assert sung.ran
    assert wrong([sung]) == [sung]
    assert "| a pickle | 1 | 1 | " in table([sung])


def test_a_command_that_breaks_is_told(tmp_path: Path) -> None:
    (sung,) = sing([Canary("x", "y", lambda *_: None, lambda: Bomb(os.system).__reduce__()[2])], tmp_path)
    assert not sung.ran
    assert sung.broke
