"""distill_core.config.shape: schemas in plain words."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter, create_model

from distill_core.config.schema import RunConfig
from distill_core.config.shape import Shape, outline_of, shape_of
from distill_core.described import Described


def _allowed(annotation: Any) -> str:
    schema = TypeAdapter(annotation).json_schema()
    return Shape(schema, schema.get("$defs", {})).allowed()


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "a whole number"),
        (Annotated[int, Field(ge=1, le=1000000)], "a whole number, at least 1 and at most 1000000"),
        (Annotated[float, Field(gt=0, lt=0.5)], "a number, above 0 and below 0.5"),
        (Annotated[int, Field(multiple_of=8)], "a whole number, a multiple of 8"),
        (bool, "true or false"),
        (str, "text"),
        (Annotated[str, Field(min_length=1)], "text, not empty"),
        (Annotated[str, Field(min_length=2, max_length=3)], "text of at least 2 and at most 3 characters"),
        (Annotated[str, Field(pattern="^a+$")], "text that matches `^a+$`"),
        (Literal["a"], "`a`"),
        (Literal["a", "b", 3], "one of `a`, `b`, `3`"),
        (int | None, "a whole number, or null"),
        (None | int | Literal["all"], "a whole number, or `all`, or null"),
        (list[Any], "a list"),
        (tuple[int, ...], "a list, each a whole number"),
        (Annotated[dict[str, int], Field(min_length=1)], "a mapping, with 1 or more keys"),
        (Annotated[list[str], Field(min_length=1, max_length=4)], "a list of at least 1 and at most 4, each text"),
        (tuple[int, int], "a list of 2, each a whole number"),
        (tuple[int, str], "a list of 2, a whole number; text"),
        (dict[str, int], "a mapping"),
        (Any, "anything"),
    ],
)
def test_what_is_allowed_in_plain_words(annotation: Any, words: str) -> None:
    assert _allowed(annotation) == words


def test_a_model_that_json_cannot_express_says_nothing() -> None:
    shape = shape_of(create_model("Odd", call=(Callable[[], int], ...)))
    assert (shape.properties, shape.allowed()) == ({}, "anything")


def told_of(shape: Shape) -> list[object]:
    """All that messages say of a shape's keys, but what they are for."""
    return [
        (path, section.known_as, section.required, [(key, each.allowed()) for key, each in section.properties.items()])
        for path, section in shape.sections()
    ]


class Inner(Described):
    """Options within options."""

    rates: tuple[Annotated[float, Field(ge=0)], ...] = (0.5,)
    """How fast, for each."""


class Outer(Described):
    """Options as plugins have them."""

    kind: Literal["ode", "sde"] = Field(alias="sampler", json_schema_extra={"known_as": ["solver"]})
    """Which sampler."""
    inner: Inner = Inner()
    either: Inner | None = None
    named: dict[str, Inner] = Field(default={})


@pytest.mark.parametrize("model", [RunConfig, Outer])
def test_an_outline_says_of_keys_and_values_what_the_whole_shape_says(model: type[BaseModel]) -> None:
    assert told_of(outline_of(model)) == told_of(shape_of(model))
    assert len(told_of(outline_of(model))) > 2


def test_an_outline_has_neither_defaults_nor_meanings_and_no_source_is_read_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ast, "parse", None)
    fresh = create_model("Fresh", __base__=Outer)
    found = [shape for _, section in outline_of(fresh).sections() for shape in section.properties.values()]
    assert found
    assert not any({"default", "title"} & shape.schema.keys() or shape.description for shape in found)
    monkeypatch.undo()
    assert shape_of(fresh).properties["inner"].schema["default"] == {"rates": [0.5]}
    assert shape_of(fresh).properties["sampler"].description == "Which sampler."
