"""distill_core.config.data_sets: the data sets that a run.yaml lists, and weights that name them."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from run_yaml_specs import INDEX
from tests.config.conftest import RUN, Write

from distill_core.config.data_sets import listed_data
from distill_core.config.load import load_run
from distill_core.config.resolve import open_run, resolve
from distill_core.config.schema import Data
from distill_core.errors import ConfigError

MIX = "data.mix=[{path: more/portraits.parquet}, {path: third, name: rest}]"


def told(write: Write, *overrides: str) -> list[tuple[str, str]]:
    """Keys and messages of all that is wrong, but for the override that says it."""
    with pytest.raises(ConfigError) as caught:
        open_run(write(RUN), overrides, INDEX)
    return [(problem.key, re.sub(r"^override '.*?': ", "", problem.message)) for problem in caught.value.problems]


def test_a_data_set_is_called_by_the_last_part_of_its_path_or_by_its_own_name(write: Write) -> None:
    weights = "data.weights={clips: 7, portraits: 2, rest: 1}"
    listed = listed_data(resolve(load_run(write(RUN), [MIX, weights]), INDEX).config.data)
    assert [(each.name, each.share) for each in listed] == [
        ("clips", Fraction(7, 10)),
        ("portraits", Fraction(1, 5)),
        ("rest", Fraction(1, 10)),
    ]
    assert [each.key for each in listed] == [("data", "path"), ("data", "mix", 0, "path"), ("data", "mix", 1, "path")]


def test_shares_are_those_that_are_written_not_the_nearest_float() -> None:
    data = Data.model_validate({"path": "a", "mix": [{"path": "b"}], "weights": {"a": 0.7, "b": 0.3}})
    assert [each.share for each in listed_data(data)] == [Fraction(7, 10), Fraction(3, 10)]


def test_without_weights_data_sets_have_no_share(write: Write) -> None:
    listed = listed_data(load_run(write(RUN), ["data.repeats=2", MIX]).config.data)
    assert [(each.repeats, each.share) for each in listed] == [(2, None), (1, None), (1, None)]


@pytest.mark.parametrize("weight", ["0", "-0.5", ".nan", ".inf"])
def test_a_weight_that_is_not_positive_is_refused(write: Write, weight: str) -> None:
    ((key, message),) = told(write, f"data.weights={{clips: {weight}}}")
    assert key == "data.weights.clips"
    assert "above 0" in message or "finite" in message


def test_a_weight_of_no_data_set_and_a_data_set_of_no_weight_are_refused(write: Write) -> None:
    assert told(write, MIX, "data.weights={clip: 1, portraits: 1, nothing: 2}") == [
        ("data.weights.clip", "no data set has this name, there are clips, portraits, rest; did you mean `clips`?"),
        ("data.weights.nothing", "no data set has this name, there are clips, portraits, rest; remove it"),
        ("data.weights", "rest has no weight; where one data set has a weight, each needs one"),
    ]


def test_two_data_sets_of_one_name_are_refused_where_weights_would_have_to_choose(write: Write) -> None:
    mix = "data.mix=[{path: old/clips}]"
    assert told(write, mix, "data.weights={clips: 1}") == [
        (
            "data.weights",
            "data.path and data.mix.0.path are both called 'clips'; give them names of their own by the key `name`",
        )
    ]
    resolve(load_run(write(RUN), [mix]), INDEX)
    resolve(load_run(write(RUN), [mix, "data.name=new", "data.weights={clips: 1, new: 2}"]), INDEX)


def test_weights_and_repeats_are_refused_together(write: Write) -> None:
    mix = "data.mix=[{path: more, repeats: 2}]"
    assert told(write, mix, "data.repeats=3", "data.weights={clips: 1, more: 1}") == [
        ("data.repeats", "data.weights says how often rows are drawn already; remove one of the two"),
        ("data.mix.0.repeats", "data.weights says how often rows are drawn already; remove one of the two"),
    ]
