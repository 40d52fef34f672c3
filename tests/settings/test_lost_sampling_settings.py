"""The rows of the table of lost settings that a real family has a part in: what it settles on, records, exports and samples by."""

from __future__ import annotations

from pathlib import Path

from tests.settings.conftest import Resolve

# flow_shift: null


def test_the_flow_shift_that_a_run_settles_on_is_written_down(resolve: Resolve, shifted: Path) -> None:
    assert resolve("finetune").to_mapping()["pipeline_config"]["flow_shift"] == 3.0
    run = resolve("finetune", student=shifted)
    assert run.to_mapping()["pipeline_config"]["flow_shift"] == 5.0
    assert run.to_mapping()["pipeline_config"]["text_length"] == 512
    assert run.notes == ()


def test_roles_whose_folders_record_other_flow_shifts_are_a_note(resolve: Resolve, shifted: Path) -> None:
    (note,) = resolve("dmd2", teacher=shifted).notes
    assert note.startswith("the run's flow shift is 3, which the folder of student records; others record teacher 5; ")
    assert resolve("dmd2", "pipeline_config.flow_shift=5", teacher=shifted).notes == ()
