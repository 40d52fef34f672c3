"""A config file as flat keys: YAML, TOML, and Python configs, whose assignments are read and never executed."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

BASE = "(base)"
"""The key of a Python config under which the modules stand that it imports: they say which method it is of."""


def flat_config(text: str, name: str) -> dict[str, Any] | None:
    """The values of a file by dotted key; None for a file of no format that is read here, or that is broken."""
    try:
        if name.endswith(".py"):
            return _assignments(ast.parse(text))
        data = tomllib.loads(text) if name.endswith(".toml") else yaml.safe_load(text)
    except (SyntaxError, tomllib.TOMLDecodeError, yaml.YAMLError):
        return None
    return dict(_leaves(data)) if isinstance(data, Mapping) else None


def _leaves(data: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _assignments(module: ast.Module) -> dict[str, Any]:
    """``config.a.b = value`` as ``a.b``; what is no literal is its own source text, so that a table can know it by name."""
    found: dict[str, Any] = {BASE: " ".join(sorted(_imported(module)))}
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Attribute):
            target = ast.unparse(node.targets[0])
            root, _, name = target.partition(".")
            if root == "config":
                found[name] = _literal(node.value)
    return found


def _imported(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ast.unparse(node)
