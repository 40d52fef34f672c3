"""Reading a JSON Schema as pydantic makes it: which keys a mapping has, what a value may be, in plain words.

Error messages, did-you-mean and docs/run-yaml.md all speak through this module, so they cannot disagree. It validates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import WithDefaultSchema

from distill_core.described import undescribed

JsonSchema = Mapping[str, Any]
KNOWN_AS = "known_as"
"""Where a field, of a plugin's options too, states other tools' names for it: ``Field(json_schema_extra={"known_as": [...]})``."""

_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
    "minProperties": "with {} or more keys",
    "maxProperties": "with {} or fewer keys",
}
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "object": "a mapping",
}


@dataclass(frozen=True)
class Shape:
    """One value's schema, together with the definitions that it refers to.

    Attributes:
        schema: the value's own schema.
        definitions: the ``$defs`` of the whole.
    """

    schema: JsonSchema
    definitions: Mapping[str, JsonSchema]

    @cached_property
    def properties(self) -> dict[str, Shape]:
        """The keys that a mapping of this shape may have, each with its shape; of all alternatives that are mappings."""
        return {
            key: self._part(schema)
            for option in self._options()
            for key, schema in option.get("properties", {}).items()
        }

    @property
    def known_as(self) -> dict[str, str]:
        """What other tools call the keys of this mapping: theirs to ours, as fields state it under ``known_as`` of their schema."""
        return {theirs: key for key, shape in self.properties.items() for theirs in shape.schema.get(KNOWN_AS, ())}

    @property
    def required(self) -> frozenset[str]:
        """The keys without a default."""
        return frozenset(key for option in self._options() for key in option.get("required", ()))

    @property
    def entries(self) -> Shape | None:
        """The shape of a value under a key of the user's own choosing, if such keys have a shape."""
        found = [option.get("additionalProperties") for option in self._options()]
        return next((self._part(schema) for schema in found if isinstance(schema, Mapping)), None)

    @property
    def description(self) -> str:
        """What the value is for, on one line; empty if nobody said."""
        return " ".join(str(self.schema.get("description", "")).split())

    @property
    def choices(self) -> tuple[object, ...]:
        """The values of an enumeration; empty if it is none."""
        return tuple(choice for option in self._options() for choice in _choices(option))

    @property
    def examples(self) -> tuple[object, ...]:
        """Values that it may have, where its type alone does not say what is meant."""
        return tuple(example for option in self._options() for example in option.get("examples", ()))

    @property
    def holds_one(self) -> bool:
        """Whether it may be a list of one item."""
        return any(
            option.get("type") == "array" and option.get("minItems", 0) <= 1 <= option.get("maxItems", 1)
            for option in self._options()
        )

    @property
    def may_be_empty(self) -> bool:
        """Whether it may be a mapping without keys."""
        return any(
            option.get("type") == "object" and not option.get("required") and not option.get("minProperties")
            for option in self._options()
        )

    def kinds(self) -> frozenset[str]:
        """JSON Schema's names of the types that the value may have, e.g. ``{"number", "null"}``."""
        return frozenset(option["type"] for option in self._options() if "type" in option)

    def at(self, path: tuple[str | int, ...]) -> Shape | None:
        """The shape of a value further down, or None where nothing is said about it."""
        shape: Shape | None = self
        for segment in path:
            if shape is None:
                return None
            shape = shape._item(segment) if isinstance(segment, int) else shape.properties.get(segment, shape.entries)
        return shape

    def allowed(self) -> str:
        """What the value may be, e.g. ``a number, above 0 and below 1, or null``."""
        words = dict.fromkeys(self._words(option) for option in self._options())
        return ", or ".join(sorted(words, key=lambda word: word == "null"))

    def sections(self, path: str = "") -> Iterator[tuple[str, Shape]]:
        """This mapping and every mapping below it, by dotted path; a key of the user's choosing is written ``<name>``."""
        if not self.properties and path:
            return
        yield path, self
        for key, shape in self.properties.items():
            below = key if not path else f"{path}.{key}"
            yield from shape.sections(below)
            if shape.entries is not None:
                yield from shape.entries.sections(f"{below}.<name>")

    def _part(self, schema: JsonSchema) -> Shape:
        return Shape(schema, self.definitions)

    def _options(self) -> list[JsonSchema]:
        """The alternatives of the value, references followed."""
        if "$ref" in self.schema:
            return self._part(self.definitions[self.schema["$ref"].removeprefix("#/$defs/")])._options()
        if "anyOf" in self.schema or "oneOf" in self.schema:
            members = [*self.schema.get("anyOf", ()), *self.schema.get("oneOf", ())]
            return [option for member in members for option in self._part(member)._options()]
        return [self.schema]

    def _item(self, index: int) -> Shape | None:
        for option in self._options():
            if index < len(option.get("prefixItems", ())):
                return self._part(option["prefixItems"][index])
            if isinstance(option.get("items"), Mapping):
                return self._part(option["items"])
        return None

    def _words(self, option: JsonSchema) -> str:
        if _choices(option):
            choices = [f"`{choice}`" for choice in _choices(option)]
            return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
        kind = option.get("type")
        if kind == "string":
            return _text_words(option)
        if kind == "array":
            return self._list_words(option)
        return ", ".join([_KINDS.get(str(kind), "anything"), *_bounds(option, _BOUNDS)])

    def _list_words(self, option: JsonSchema) -> str:
        items = [self._part(item).allowed() for item in option.get("prefixItems", ())]
        if items:
            each = f"each {items[0]}" if len(set(items)) == 1 else "; ".join(items)
            return f"a list of {len(items)}, {each}"
        each = self._part(option.get("items", {})).allowed()
        length = "".join(
            f" of {bounds}" for bounds in _bounds(option, {"minItems": "at least {}", "maxItems": "at most {}"})
        )
        return f"a list{length}" if each == "anything" else f"a list{length}, each {each}"


def _text_words(option: JsonSchema) -> str:
    if "pattern" in option:
        return f"text that matches `{option['pattern']}`"
    if "examples" in option:
        return f"text such as `{option['examples'][0]}`"
    if option.get("minLength") == 1 and "maxLength" not in option:
        return "text, not empty"
    length = _bounds(option, {"minLength": "at least {}", "maxLength": "at most {}"})
    return f"text of {length[0]} characters" if length else "text"


def _bounds(option: JsonSchema, words: Mapping[str, str]) -> list[str]:
    """The bounds that a schema has, in one phrase; empty if it has none."""
    found = [phrase.format(_number(option[bound])) for bound, phrase in words.items() if bound in option]
    return [" and ".join(found)] if found else []


def _number(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else f"{bound:g}"


def _choices(option: JsonSchema) -> tuple[object, ...]:
    return (option["const"],) if "const" in option else tuple(option.get("enum", ()))


class _Outline(GenerateJsonSchema):
    """What a value may be and nothing besides: no defaults, no titles, and definitions under the names that are unique in any case."""

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """The schema with all its definitions."""
        outline = self.generate_inner(schema)
        return {**outline, "$defs": self.definitions}

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """The value's own."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


@cache
def shape_of(model: type[BaseModel]) -> Shape:
    """The shape of a model. A model with a field that JSON cannot express has a shape that says nothing."""
    return _shape(model, GenerateJsonSchema)


@cache
def outline_of(model: type[BaseModel]) -> Shape:
    """The same without defaults and descriptions, in a fifth of the time: what keys there are, and what is allowed."""
    with undescribed():
        return _shape(model, _Outline)


def _shape(model: type[BaseModel], generator: type[GenerateJsonSchema]) -> Shape:
    try:
        schema = model.model_json_schema(schema_generator=generator)
    except PydanticInvalidForJsonSchema:
        return Shape({}, {})
    return Shape(schema, schema.get("$defs", {}))
