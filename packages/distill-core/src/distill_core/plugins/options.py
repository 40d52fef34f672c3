"""A plugin's options as a person reads them: name, type, default and meaning of every key, nested ones with dots."""

from __future__ import annotations

import json
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from distill_core.described import meanings


@dataclass(frozen=True)
class OptionRow:
    """One key.

    Attributes:
        name: the key, dotted where it is nested.
        type: what may stand there.
        default: the default as YAML would say it, or "required".
        meaning: the field's description in one line.
    """

    name: str
    type: str
    default: str
    meaning: str


def option_rows(options: type[BaseModel], prefix: str = "") -> tuple[OptionRow, ...]:
    """The keys of a pydantic model in the order of its fields."""
    rows: list[OptionRow] = []
    said = meanings(options)
    for key, field in options.model_fields.items():
        name = prefix + (key if field.alias is None else field.alias)
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            rows += option_rows(nested, f"{name}.")
        else:
            rows.append(OptionRow(name, _field_type(field), _default(field), _one_line(said.get(key, ""))))
    return tuple(rows)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _default(field: FieldInfo) -> str:
    """The default in JSON, which YAML reads too."""
    if field.is_required():
        return "required"
    if field.default_factory_takes_validated_data:
        return "from other keys"
    return json.dumps(
        to_jsonable_python(field.get_default(call_default_factory=True), fallback=str), ensure_ascii=False
    )


def _field_type(field: FieldInfo) -> str:
    """The annotation and its bounds; pydantic keeps the outermost ``Annotated`` apart, as metadata."""
    return type_text(field.annotation) + _bounds(field.metadata)


def type_text(annotation: Any) -> str:
    """An annotation in few words, e.g. ``tuple[float ≥ 0, ...]`` or ``"ode" | "sde"``.

    Any, because annotations have no common type.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0]) + _bounds(arguments[1:])
    if origin is Literal:
        return " | ".join(map(json.dumps, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(map(type_text, arguments))
    if annotation is Ellipsis:
        return "..."
    if annotation in (None, types.NoneType):
        return "null"
    if arguments and isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(type_text, arguments))}]"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _bounds(metadata: Any) -> str:
    """The bounds among a field's metadata, which is Any to pydantic too."""
    texts: list[str] = []
    for constraint in metadata:
        match constraint:
            case Gt(gt=bound):
                texts.append(f" > {bound}")
            case Ge(ge=bound):
                texts.append(f" ≥ {bound}")
            case Lt(lt=bound):
                texts.append(f" < {bound}")
            case Le(le=bound):
                texts.append(f" ≤ {bound}")
            case FieldInfo(metadata=inner):
                texts.append(_bounds(inner))
            case _:
                pass
    return "".join(texts)
