"""A discriminator's layers that the teacher does not have are told before any weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from distill_core.plugins import ModelFacts
from distill_core.plugins.discovery import discover
from distill_core.testing.toy_spec import inspect, write_toy_model
from distill_matching.options import DiscriminatorOptions
from distill_method_dmd2.config import Dmd2Options


@pytest.fixture
def facts(tmp_path: Path) -> Mapping[str, ModelFacts]:
    return {"teacher": inspect(str(write_toy_model(tmp_path / "teacher")))}


@pytest.mark.parametrize("layers", [(0, 7), ()])
def test_layers_that_are_not_there_are_named(facts: Mapping[str, ModelFacts], layers: tuple[int, ...]) -> None:
    ((key, message),) = DiscriminatorOptions(gan_layers=layers).misfits(facts)
    assert key == "gan_layers"
    assert "has the layers 0 to 0" in message


def test_layers_that_are_there_or_left_open_fit(facts: Mapping[str, ModelFacts]) -> None:
    assert not [*DiscriminatorOptions().misfits(facts), *DiscriminatorOptions(gan_layers=(0,)).misfits(facts)]


def test_dmd2_asks_where_it_has_a_gan(facts: Mapping[str, ModelFacts]) -> None:
    assert not [*Dmd2Options(gan_layers=(7,)).misfits(facts)]
    assert [*Dmd2Options(gan_layers=(7,), gan_weight=0.1).misfits(facts)]


@pytest.mark.parametrize("name", ["causvid", "dmd2", "fdistill", "ladd", "self-forcing"])
def test_every_method_with_a_discriminator_says_so(facts: Mapping[str, ModelFacts], name: str) -> None:
    spec = discover().methods[name]
    weight = {} if name == "ladd" else {"gan_weight": 0.1}
    options = spec.options.model_validate({"gan_layers": [7], **weight})
    assert [key for key, _ in spec.misfits(options, facts)] == ["gan_layers"]
