"""distill_core.config.scalars, and what write_yaml makes of the same values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_core.config.document import read_document, write_yaml
from distill_core.config.scalars import plain_scalar

PLAIN = {
    "1e-6": 1e-6, "1E+3": 1000.0, "1.0e-6": 1e-6, ".5": 0.5, "5.": 5.0, "-.5e1": -5.0, "+3": 3, "-0": 0,
    "010": 10, "0o10": 8, "0x1F": 31, "1_000": "1_000", "12:30:00": "12:30:00", "1:2": "1:2", "0b11": "0b11",
    "no": "no", "on": "on", "yes": "yes", "off": "off", "y": "y", "No": "No",
    "true": True, "True": True, "TRUE": True, "tRue": "tRue", "false": False,
    "null": None, "Null": None, "NULL": None, "~": None, "": None, "none": "none",
    "2024-01-01": "2024-01-01", "1e": "1e", "e5": "e5", ".": ".", "-": "-", "1.2.3": "1.2.3", "٣": "٣",
    ".inf": math.inf, "-.INF": -math.inf, "+.Inf": math.inf, "inf": "inf", "nan": "nan", "=": "=",
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), PLAIN.items())
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = plain_scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_nan_is_read_as_nan() -> None:
    found = plain_scalar(".nan")
    assert isinstance(found, float)
    assert math.isnan(found)


def test_a_number_with_too_many_digits_is_refused() -> None:
    with pytest.raises(ValueError):
        plain_scalar("9" * 5000)


@given(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none())
def test_every_scalar_survives_being_written_and_read(value: object) -> None:
    found = read_document(write_yaml({"key": value}), "x").data["key"]
    assert found == value
    assert type(found) is type(value)


LOOKALIKES = st.sampled_from(sorted(PLAIN)) | st.from_regex(r"[-+0-9.eExo_:~]{1,8}", fullmatch=True)
TEXTS = LOOKALIKES | st.text(st.characters(exclude_categories=("Cs",)))


@given(TEXTS)
def test_every_text_survives_being_written_and_read(text: str) -> None:
    data = {"key": text, "list": [text, text]}
    read = read_document(write_yaml(data), "x")
    assert read.data == data


PLAIN_DATA = st.recursive(
    TEXTS | st.integers() | st.floats(allow_nan=False) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text("abc_-. :#", max_size=5), PLAIN_DATA, max_size=4))
def test_plain_data_survive_being_written_and_read(data: dict[str, object]) -> None:
    assert read_document(write_yaml(data), "x").data == data
