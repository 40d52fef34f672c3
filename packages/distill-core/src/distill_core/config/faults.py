"""From pydantic's errors to problems that a person can act on: the value given, what is allowed, and the remedy.

Data are checked as JSON would be, strictly: text is no number, a number is no text, true is not 1; a list may become a tuple.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from distill_core.config.document import Document, KeyPath
from distill_core.config.scalars import FLOAT
from distill_core.config.shape import Shape, outline_of, shape_of
from distill_core.config.suggest import THEIRS, closest, folded, unknown_key
from distill_core.errors import Problem
from distill_core.plugins.option_type import ContradictionsError

ModelT = TypeVar("ModelT", bound=BaseModel)
_OWN_WORDS = frozenset({"value_error", "assertion_error"})
_SHAPE_SAYS_IT = {
    "int_type", "int_parsing", "int_from_float", "float_type", "float_parsing", "finite_number", "bool_type",
    "bool_parsing", "string_type", "list_type", "tuple_type", "set_type", "frozen_set_type", "dict_type",
    "model_type", "model_attributes_type", "none_required", "literal_error", "enum", "greater_than",
    "greater_than_equal", "less_than", "less_than_equal", "multiple_of", "too_short", "too_long",
    "string_too_short", "string_too_long", "string_pattern_mismatch",
}  # fmt: skip
"""pydantic's errors that are plain from what the schema allows; of others, a plugin's own among them, pydantic's message is shown."""
_YAML_1_1_BOOLEANS = frozenset({"yes", "no", "on", "off", "y", "n"})


def validated(model: type[ModelT], data: object) -> ModelT:
    """``data`` as an instance of ``model``. Raises pydantic's ValidationError, for :func:`problems_of`."""
    return model.model_validate_json(json.dumps(data), strict=True)


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    document: Document,
    at: KeyPath = (),
    elsewhere: Mapping[str, Shape] | None = None,
) -> list[Problem]:
    """The faults of the mapping that stands ``at`` a path of the document and should be a ``model``, one for each value.

    ``elsewhere``: the mappings outside ``model``, by dotted path, for a key that stands in the wrong one.
    """
    translator = _Translator(model, document, at, elsewhere if elsewhere is not None else {})
    return translator.problems(error.errors(include_url=False))


def by_line(problems: Iterable[Problem]) -> list[Problem]:
    """Problems in the order of the file, those without a line last."""
    return sorted(problems, key=lambda problem: (problem.line is None, problem.line))


@dataclass(frozen=True)
class _Place:
    """Where an error stands in the data.

    Attributes:
        path: the value's path.
        union: the path of the value whose type has several alternatives, of which the error speaks of one; else ``path``.
        alternative: pydantic's name of that alternative, or "".
    """

    path: KeyPath
    union: KeyPath
    alternative: str | int


class _Translator:
    """Turns the errors of one validation into problems."""

    def __init__(self, model: type[BaseModel], document: Document, at: KeyPath, elsewhere: Mapping[str, Shape]) -> None:
        self._model = model
        self._shape = outline_of(model)
        self._document = document
        self._at = at
        self._sections = {**elsewhere, **dict(self._shape.sections(".".join(str(segment) for segment in at)))}

    def problems(self, errors: Sequence[ErrorDetails]) -> list[Problem]:
        """One problem a value, in the order of the errors; the alternatives of a union are one problem, not one each."""
        places = [self._place(error) for error in errors]
        errors, places = _of_their_own(errors, places)
        misspelt = self._misspelt(errors, places)
        found: dict[tuple[KeyPath, str], Problem] = {}
        for error, place in zip(errors, places, strict=True):
            alternatives = _alternatives(place.union, places)
            if place.path in misspelt or place.alternative not in alternatives:
                continue
            several = len(alternatives) > 1
            for path, message in (
                [(place.union, self._must_be(place.union))] if several else self._explain(error, place.path)
            ):
                found.setdefault((path, message), self._document.problem((*self._at, *path), message))
        return list(found.values())

    def _misspelt(self, errors: Sequence[ErrorDetails], places: Sequence[_Place]) -> set[KeyPath]:
        """The required keys that are there under a misspelt name: one fault, so one problem."""
        missing = {place.path for error, place in zip(errors, places, strict=True) if error["type"] == "missing"}
        unknown = {
            place.path for error, place in zip(errors, places, strict=True) if error["type"] == "extra_forbidden"
        }
        meant = {(*path[:-1], closest(str(path[-1]), self._keys(path[:-1]))) for path in unknown}
        return missing & meant

    def _keys(self, path: KeyPath) -> list[str]:
        shape = self._shape.at(path)
        return [] if shape is None else list(shape.properties)

    def _place(self, error: ErrorDetails) -> _Place:
        """Where an error stands. What pydantic puts between the keys, and the data do not have, names an alternative of a union."""
        value: Any = self._document.value(self._at)
        path: KeyPath = ()
        union: KeyPath | None = None
        alternative: str | int = ""
        for depth, segment in enumerate(error["loc"], start=1):
            if _has(value, segment):
                value, path = value[segment], (*path, segment)
            elif depth == len(error["loc"]) and error["type"] == "missing":
                path = (*path, segment)
            elif union is None:
                union, alternative = path, segment
        return _Place(path, path if union is None else union, alternative)

    def _explain(self, error: ErrorDetails, path: KeyPath) -> list[tuple[KeyPath, str]]:
        kind = error["type"]
        if kind == "missing" and isinstance(path[-1], int):
            return [(path[:-1], self._must_be(path[:-1]))]
        if kind == "missing":
            return [(path, self._required(path))]
        if kind == "extra_forbidden":
            return [(path, self._unknown(path))]
        if kind in _OWN_WORDS:
            raised = error["ctx"]["error"]
            return [
                (path, said) for said in (raised.each if isinstance(raised, ContradictionsError) else (str(raised),))
            ]
        if kind in _SHAPE_SAYS_IT and self._shape.at(path) is not None:
            return [(path, self._must_be(path))]
        return [(path, f"{error['msg'][:1].lower()}{error['msg'][1:]}; got {shown(self._value(path))}")]

    def _required(self, path: KeyPath) -> str:
        shape = shape_of(self._model).at(path)
        meaning = "" if shape is None or not shape.description else f": {shape.description}"
        return f"is required{meaning}"

    def _unknown(self, path: KeyPath) -> str:
        key, mine = str(path[-1]), ".".join(str(segment) for segment in (*self._at, *path[:-1]))
        elsewhere = {section: tuple(shape.properties) for section, shape in self._sections.items() if section != mine}
        return unknown_key(key, mine, self._keys(path[:-1]), elsewhere, self._counterparts(key))

    def _counterparts(self, key: str) -> list[str]:
        """What a name of another tool's may mean here, as :data:`THEIRS` has it."""
        name = folded(key)
        found = [ours for ours, theirs in THEIRS.items() if name in theirs]
        for section, shape in self._sections.items():
            found += [f"{section}.{ours}" for theirs, ours in shape.known_as.items() if theirs in (key, name)]
        return found

    def _must_be(self, path: KeyPath) -> str:
        shape, value = self._shape.at(path), self._value(path)
        if shape is None:
            return f"cannot be {shown(value)}"
        return f"must be {shape.allowed()}; got {shown(value)}{_hint(value, shape)}"

    def _value(self, path: KeyPath) -> Any:
        return self._document.value((*self._at, *path))


def _of_their_own(errors: Sequence[ErrorDetails], places: Sequence[_Place]) -> tuple[list[ErrorDetails], list[_Place]]:
    """Without lists that pydantic calls too short because it does not count their faulty items."""
    own = [
        (error, place)
        for error, place in zip(errors, places, strict=True)
        if error["type"] != "too_short"
        or not any(
            len(other.path) > len(place.path) and other.path[: len(place.path)] == place.path for other in places
        )
    ]
    return [error for error, _ in own], [place for _, place in own]


def _alternatives(union: KeyPath, places: Sequence[_Place]) -> set[str | int]:
    """The alternatives of a union that the user can have meant: where one alone was of the right kind, and wrong within, that one."""
    all_of_them = {place.alternative for place in places if place.union == union}
    within = {place.alternative for place in places if place.union == union != place.path}
    return within if len(within) == 1 else all_of_them


def _has(container: Any, segment: str | int) -> bool:
    if isinstance(container, list):
        return isinstance(segment, int) and segment < len(container)
    return isinstance(container, Mapping) and segment in container


def shown(value: Any) -> str:
    """A value as a message shows it: short, on one line, without secrets."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, float) and math.isnan(value):
        return ".nan (not a number)"
    if isinstance(value, float) and math.isinf(value):
        return f"{'-' if value < 0 else ''}.inf (or a number too large)"
    if isinstance(value, Mapping):
        return f"a mapping ({', '.join(value)})" if value else "an empty mapping"
    from distill_core.redaction import redact_text

    text = redact_text(json.dumps(value, ensure_ascii=False))
    kind = "the text " if isinstance(value, str) else ""
    return kind + (text if len(text) <= 60 else f"{text[:57]}...")


def _hint(value: Any, shape: Shape) -> str:
    """The likely slip behind a value of the wrong kind; empty if none is likely."""
    kinds = shape.kinds()
    if isinstance(value, str):
        return _text_hint(value, shape)
    if isinstance(value, float) and "integer" in kinds and value.is_integer():
        return f"; write {int(value)}"
    if isinstance(value, int | float) and "string" in kinds and not (shape.choices or shape.examples):
        return "; put it in quotes"
    if isinstance(value, int | float) and shape.holds_one:
        return f"; write it as [{shown(value)}]"
    if shape.may_be_empty and (value is None or value is True):
        return "; write {} for its defaults" + (", or remove the key" if value is None else "")
    return ""


def _text_hint(text: str, shape: Shape) -> str:
    kinds = shape.kinds()
    if shape.choices:
        meant = closest(text, [str(choice) for choice in shape.choices])
        return "" if meant is None else f"; did you mean `{meant}`?"
    if "boolean" in kinds and text.lower() in _YAML_1_1_BOOLEANS:
        return "; in YAML 1.2 only true and false are booleans"
    if kinds & {"number", "integer"} and FLOAT.fullmatch(text.strip()):
        return "; remove the quotes"
    return f"; write it as [{text}]" if shape.holds_one else ""
