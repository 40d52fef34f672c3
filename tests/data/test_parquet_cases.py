"""Data sets as other programs write them: each trains to one loss, or is refused with the reason; and what validates trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.data.cases import Case
from tests.data.parquet_cases import TOPIC


@pytest.mark.parametrize("case", TOPIC.cases, ids=lambda case: case.brought)
def test_a_data_set_of_another_program_trains_or_is_refused_with_its_reason(case: Case, tmp_path: Path) -> None:
    said = TOPIC.outcome(case, tmp_path)
    assert re.search(case.due, said), said
    assert "validate:" not in said
