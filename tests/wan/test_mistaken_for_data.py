"""A model's folder that is named where a data set is asked for is called what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture

from distill_model_wan.testing import Variant


@pytest.mark.parametrize("command", ["inspect", "validate"])
def test_a_model_is_no_data_set(
    distill: Command,  # noqa: F811
    pipelines: dict[Variant, Path],
    tmp_path: Path,
    command: str,
) -> None:
    said = distill("data", command, pipelines["t2v"])
    assert said.code == 65
    assert f"{pipelines['t2v']} is no data set: it is a model (Wan 2.1 T2V, " in said.err
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "WanAnimateModel"}))
    said = distill("data", command, tmp_path)
    assert said.code == 65
    assert "is a Wan Animate, which is not supported. Supported are Wan 2.1" in said.err
    (tmp_path / "config.json").write_text("{}")
    assert "holds no parquet file (there are: config.json)" in distill("data", command, tmp_path).err
