"""Captions as people write them: each is taken, or told with its file and line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.data.caption_cases import TOPIC
from tests.data.cases import Case


@pytest.mark.parametrize("case", TOPIC.cases, ids=lambda case: case.brought)
def test_captions_are_taken_or_told(case: Case, tmp_path: Path) -> None:
    said = TOPIC.outcome(case, tmp_path)
    assert re.search(case.due, said), said
