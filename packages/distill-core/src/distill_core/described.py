"""Pydantic models whose fields are described by the string under each.

Pydantic can read those strings itself, as each class is made, which takes longer than the class. Here they are read when somebody asks.
A module of many such models has no ``from __future__ import annotations``: pydantic needs each annotation at once, and would compile it.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType, ModuleType

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

_UNDESCRIBED = ContextVar("_UNDESCRIBED", default=False)


class Described(BaseModel):
    """A model whose JSON Schema has, of each field, the string under it, unless the field has a description of its own."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        if _UNDESCRIBED.get():
            return schema
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, meaning in meanings(cls).items():
            alias = cls.model_fields[name].alias
            key = name if alias is None else alias
            if key in properties:
                properties[key].setdefault("description", meaning)
        return schema


@contextmanager
def undescribed() -> Iterator[None]:
    """JSON Schemas that are made inside are without the strings under fields, so that no source is read."""
    token = _UNDESCRIBED.set(True)
    try:
        yield
    finally:
        _UNDESCRIBED.reset(token)


def meanings(model: type[BaseModel]) -> Mapping[str, str]:
    """What the fields of a model mean, by name, of those that say it: by a description, or by the string under them."""
    written = {name: text for each in reversed(model.__mro__) for name, text in _under_fields(each).items()}
    said = {name: field.description or written.get(name) for name, field in model.model_fields.items()}
    return {name: text for name, text in said.items() if text}


def _under_fields(owner: type) -> Mapping[str, str | None]:
    """The strings under the fields that a class itself has; None where there is none."""
    module = sys.modules.get(owner.__module__)
    return {} if module is None or not issubclass(owner, Described) else _written(module).get(owner.__qualname__, {})


@cache
def _written(module: ModuleType) -> Mapping[str, Mapping[str, str | None]]:
    """The strings under the annotated names of each class of a module; nothing where its source is not to be had."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return {}
    return MappingProxyType(dict(_classes(tree, "")))


def _classes(parent: ast.AST, inside: str) -> Iterator[tuple[str, Mapping[str, str | None]]]:
    """Every class below a node, by its qualified name."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef):
            yield f"{inside}{node.name}", dict(_strings(node))
            yield from _classes(node, f"{inside}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _classes(node, f"{inside}{node.name}.<locals>.")
        elif not isinstance(node, ast.expr):  # no expression holds a class, and most nodes are expressions
            yield from _classes(node, inside)


def _strings(body: ast.ClassDef) -> Iterator[tuple[str, str | None]]:
    """Each annotated name with the string under it, or None."""
    for field, below in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            yield field.target.id, _text(below)


def _text(statement: ast.stmt | None) -> str | None:
    """What a statement says that is a string and nothing else."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
    return None
