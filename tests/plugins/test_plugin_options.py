"""A plugin's options, as a person reads them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from distill_core.plugins import Options
from distill_core.plugins.options import OptionRow, option_rows, type_text


class Inner(Options):
    """Nested options."""

    rate: Annotated[float, Field(gt=0)] = 1e-6
    """How fast."""


class Outer(Options):
    """Options of every kind."""

    kind: Literal["ode", "sde"] = "sde"
    """Which
    sampler."""
    steps: Annotated[tuple[Annotated[float, Field(ge=0, le=1000)], ...], Field(min_length=1)] = (999, 0)
    count: Annotated[int, Field(ge=1, lt=9)]
    limit: Annotated[float, Field(gt=0)] | None = None
    names: dict[str, int] = Field(default_factory=dict, description="By name.")
    derived: int = Field(default_factory=lambda data: data["count"])
    inner: Inner = Inner()


def test_every_key_has_its_type_default_and_meaning() -> None:
    assert option_rows(Outer) == (
        OptionRow("kind", '"ode" | "sde"', '"sde"', "Which sampler."),
        OptionRow("steps", "tuple[float ≥ 0 ≤ 1000, ...]", "[999, 0]", ""),
        OptionRow("count", "int ≥ 1 < 9", "required", ""),
        OptionRow("limit", "float > 0 | null", "null", ""),
        OptionRow("names", "dict[str, int]", "{}", "By name."),
        OptionRow("derived", "int", "from other keys", ""),
        OptionRow("inner.rate", "float > 0", "1e-06", "How fast."),
    )


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (None, "null"),
        (Any, "Any"),
        (list, "list"),
        (tuple[int, str], "tuple[int, str]"),
        (Literal["a", 1], '"a" | 1'),
        (Annotated[int, "no bound"], "int"),
        (bool | None, "bool | null"),
    ],
)
def test_annotations_are_short(annotation: object, text: str) -> None:
    assert type_text(annotation) == text


def test_the_string_under_a_field_reaches_the_json_schema() -> None:
    assert Inner.model_json_schema()["properties"]["rate"]["description"] == "How fast."


def test_no_options_are_no_rows() -> None:
    class Empty(BaseModel):
        pass

    assert option_rows(Empty) == ()


class Narrower(Outer):
    """A field that is given again means what is said there, or nothing."""

    count: int = 2
    kind: Literal["ode"] = "ode"
    """The only sampler."""
    names: dict[str, int] = Field(default_factory=dict, description="By name, as above.")
    """Not this."""


def test_a_field_means_what_is_said_where_it_was_last_given() -> None:
    properties = Narrower.model_json_schema()["properties"]
    said = {key: properties[key].get("description") for key in ("kind", "count", "names")}
    assert said == {"kind": "The only sampler.", "count": None, "names": "By name, as above."}
    assert [row.meaning for row in option_rows(Narrower) if row.name in said] == [
        "The only sampler.", "", "By name, as above.",
    ]  # fmt: skip


def test_a_class_inside_a_function_is_read_too() -> None:
    class Local(Options):
        rate: float = 0.5
        """How fast."""

    assert Local.model_json_schema()["properties"]["rate"]["description"] == "How fast."
