"""distill_core.config.folders: paths that hold wherever they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.config.conftest import RUN, Write

from distill_core.config.folders import with_absolute_paths
from distill_core.config.load import load_run


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("model", "{cwd}/model"),
        ("./gone", "{cwd}/gone"),
        ("../gone", "{parent}/gone"),
        ("organisation/name", "organisation/name"),
    ],
)
def test_a_models_path_is_absolute_unless_it_may_be_a_hub_id(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, resolved: str
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    config = with_absolute_paths(load_run(write(RUN), [f"roles.student.path={path}"]).config)
    assert config.roles["student"].path == resolved.format(cwd=tmp_path, parent=tmp_path.parent)


def test_paths_of_data_and_output_are_absolute_whether_they_are_there_or_not(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_absolute_paths(load_run(write(RUN), ["data.mix=[{path: more}]"]).config)
    found = (config.data.path, config.data.mix[0].path, config.output_dir)
    assert found == (f"{tmp_path}/clips", f"{tmp_path}/more", f"{tmp_path}/out")
