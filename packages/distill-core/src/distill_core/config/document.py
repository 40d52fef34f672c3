"""A YAML text as plain data that remembers on which line each key stands.

The syntax is read by PyYAML's parser; the meaning of scalars is YAML 1.2 (:mod:`distill_core.config.scalars`). What could surprise
is refused: duplicate keys, tags, merge keys, keys that are no text, ``${...}``, aliases that multiply. Which keys a run.yaml may
have is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from distill_core.config.compose import Node, compose
from distill_core.config.scalars import FLOAT, OCTAL
from distill_core.errors import ConfigError, Problem

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys of mappings and indices of lists, from the top."""


def dotted(path: KeyPath) -> str:
    """A path as people write it: ``roles.x.path``."""
    return ".".join(str(segment) for segment in path)


@dataclass(frozen=True)
class Document:
    """The plain data of a YAML text, and where each value comes from.

    Attributes:
        data: mappings, lists, text, numbers, booleans and None, after the overrides.
        text: the YAML text, verbatim.
        root: the text's nodes, before the overrides.
        problems: what is wrong with the YAML itself, although it could be read.
        overridden: the overrides applied so far, each with the path that it set, in order.
    """

    data: Mapping[str, Any]
    text: str
    root: Node
    problems: tuple[Problem, ...] = ()
    overridden: tuple[tuple[KeyPath, str], ...] = field(default=())

    def line(self, path: KeyPath | str) -> int | None:
        """The line of a key (from 1), or that of its nearest parent if it is not there; None if an override has set it."""
        path = tuple(path.split(".")) if isinstance(path, str) else path
        if self._override_of(path) is not None:
            return None
        node = self.root
        for segment in path:
            if segment not in node.children:
                break
            node = node.children[segment]
        return node.line

    def value(self, path: KeyPath) -> Any:
        """The value at a path, after the overrides. Raises LookupError if there is none."""
        value: Any = self.data
        for segment in path:
            value = value[segment]
        return value

    def says(self, path: KeyPath) -> bool:
        """Whether there is a value at a path."""
        try:
            self.value(path)
        except (LookupError, TypeError):  # a text or a number where a mapping should be
            return False
        return True

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A fault at a path, with its line, or with the override that has set it."""
        override = self._override_of(path)
        if override is not None:
            message = f"{shown_override(override)}: {message}"
        return Problem(dotted(path), message, self.line(path))

    def with_override(self, path: KeyPath, value: Any, override: str) -> Document:
        """The document with one value set, its parents made where missing. Raises LookupError, saying why, if it has no place."""
        data = _with_value(self.data, path, value, ())
        return replace(self, data=data, overridden=(*self.overridden, (path, override)))

    def _override_of(self, path: KeyPath) -> str | None:
        for target, override in reversed(self.overridden):
            if tuple(str(segment) for segment in path[: len(target)]) == target:
                return override
        return None


def shown_override(override: str) -> str:
    """An override as a message names it, without secrets."""
    from distill_core.redaction import redact_text

    return f"override {redact_text(override)!r}"


def _with_value(container: Any, path: KeyPath, value: Any, above: KeyPath) -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(container, Mapping):
        return {**container, head: _with_value(container.get(head), rest, value, (*above, head))}
    if isinstance(container, list):
        if not (str(head).isdecimal() and int(head) < len(container)):
            raise LookupError(
                f"`{dotted(above)}` is a list of {len(container)}; name an item by its index, from 0, or set the whole list"
            )
        items = list(container)
        items[int(head)] = _with_value(items[int(head)], rest, value, (*above, head))
        return items
    if container is None:
        return {head: _with_value(None, rest, value, (*above, head))}
    raise LookupError(f"`{dotted(above)}` is {container!r}, no mapping, so it has no key {head!r}")


def read_document(text: str, source: str) -> Document:
    """Read a YAML text whose top level is a mapping. Raises ConfigError for text that is no YAML, empty, or no mapping."""
    root, problems = compose(text)
    if root is None or root.value is None:
        raise ConfigError(problems or [Problem("", "the file is empty; a run.yaml starts with `recipe:`")], source)
    if not isinstance(root.value, dict):
        found = "a list" if isinstance(root.value, list) else "a single value"
        raise ConfigError(
            [*problems, Problem("", f"the top level is {found}; it must be a mapping, `key: value`", root.line)], source
        )
    return Document(root.value, text, root, tuple(problems))


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value that is neither a mapping nor a list, with its path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 would read as something else; short lists of numbers stay on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that occurs twice twice, without anchors."""
        return True


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    on_one_line = not any(isinstance(item, str | list | dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=on_one_line)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """PyYAML folds these as line breaks, as YAML 1.1 has them, unless they are escaped."""
    escaped = any(character in text for character in "\x85\u2028\u2029")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if escaped else None)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", OCTAL, ["0"])
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))


def write_yaml(data: Mapping[str, Any]) -> str:
    """Plain data as YAML that :func:`read_document` reads back to equal data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
