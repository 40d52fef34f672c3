"""Videos and pictures as they are: each is made into what a player shows and told, or skipped with its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.data.cases import Case
from tests.data.video_cases import TOPIC


@pytest.mark.parametrize("case", TOPIC.cases, ids=lambda case: case.brought)
def test_videos_are_shown_as_they_are_meant_or_told(case: Case, tmp_path: Path) -> None:
    said = TOPIC.outcome(case, tmp_path)
    assert re.search(case.due, said), said
