"""From YAML text to a tree of values with line numbers: the part that knows PyYAML's parser and its failures.

Every fault is a :class:`~distill_core.errors.Problem`; nothing is raised, so that all faults of a text are found in one reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from distill_core.config.scalars import Scalar, plain_scalar
from distill_core.errors import Problem

MAX_VALUES = 20_000
MAX_DEPTH = 40
_SUBSTITUTION = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True)
class Node:
    """A value of the text.

    Attributes:
        value: the plain data.
        line: the line, from 1, of its key where it has one, of itself otherwise.
        children: the nodes of a mapping by key, of a list by index.
        size: how many values it holds, itself included, aliases counted in full.
    """

    value: Any
    line: int
    children: Mapping[str | int, Node] = field(default_factory=dict)
    size: int = 1


class _TooMuchError(Exception):
    """The text is deeper or larger than any run.yaml; ``args`` are the message and the line."""


def compose(text: str) -> tuple[Node | None, list[Problem]]:
    """The root of the one document in ``text`` (None if there is none, or it is no YAML), and all that is wrong with it."""
    composer = _Composer(yaml.parse(text, Loader=yaml.SafeLoader))
    root = None
    try:
        root = composer.document()
    except _TooMuchError as error:
        composer.problems.append(Problem("", *error.args))
    except yaml.YAMLError as error:
        composer.problems.append(_syntax_problem(error, text))
    except (ValueError, OverflowError) as error:  # PyYAML lets chr() fail on an escape such as "\UFFFFFFFF"
        composer.problems.append(Problem("", f"not valid YAML: {error}"))
    return root, composer.problems


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        message = f"not valid YAML: the character U+{ord(text[error.position]):04X} is not allowed; remove it"
        return Problem("", message, text.count("\n", 0, error.position) + 1)
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem is None:
        return Problem("", f"not valid YAML: {error}")
    if r"'\t'" in error.problem:
        message = "a tab stands here; YAML is indented with spaces"
    elif error.problem.startswith("mapping values are not allowed"):
        message = "not valid YAML: a second `: ` on the line, or wrong indentation; put a text with `: ` in quotes"
    else:
        message = f"not valid YAML{'' if error.context is None else f' {error.context}'}: {error.problem}"
    return Problem("", message, None if error.problem_mark is None else error.problem_mark.line + 1)


class _Composer:
    """One pass over the parser's events."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, Node | None] = {}
        self._values = 0
        self.problems: list[Problem] = []

    def document(self) -> Node | None:
        """The first document's root. A second document is a problem."""
        root = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    self.problems.append(
                        Problem("", "a second document starts here; a run.yaml is one, remove the `---`", _line(event))
                    )
                    break
                root = self._node(next(self._events), (), 0)
        return root

    def _node(self, event: Any, path: tuple[str | int, ...], depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event, path)
        self._count(1, event)
        if depth > MAX_DEPTH:
            raise _TooMuchError(f"more than {MAX_DEPTH} levels of nesting", _line(event))
        if event.tag is not None:
            self._problem(path, f"the tag `{_tag(event)}` is refused: a run.yaml holds plain data; remove it", event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # not finished: an alias inside it would be a cycle
        if isinstance(event, ScalarEvent):
            node = Node(self._scalar(event, path), _line(event))
        elif isinstance(event, MappingStartEvent):
            node = self._mapping(_line(event), path, depth)
        else:
            node = self._list(_line(event), path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, path: tuple[str | int, ...]) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            fault = (
                "refers to the value that it stands in" if event.anchor in self._anchors else "has no anchor above it"
            )
            self._problem(path, f"the alias `*{event.anchor}` {fault}", event)
            return Node(None, _line(event))
        self._count(node.size, event)
        return replace(node, line=_line(event))

    def _mapping(self, line: int, path: tuple[str | int, ...], depth: int) -> Node:
        children: dict[str | int, Node] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event, path, depth)
            value = self._node(next(self._events), path if key is None else (*path, key), depth + 1)
            if key is None:
                continue
            if key in children:
                self._problem(
                    (*path, key),
                    f"the key is given twice, first on line {children[key].line}; remove one of them",
                    event,
                )
            else:
                children[key] = replace(value, line=_line(event))
        size = 1 + sum(child.size for child in children.values())
        return Node({key: child.value for key, child in children.items()}, line, children, size)

    def _list(self, line: int, path: tuple[str | int, ...], depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth + 1))
        size = 1 + sum(item.size for item in items)
        return Node([item.value for item in items], line, dict(enumerate(items)), size)

    def _key(self, event: Any, path: tuple[str | int, ...], depth: int) -> str | None:
        """A mapping's key; None, with a problem, for one that is no text."""
        key = self._node(event, path, depth + 1).value
        if key == "<<" and isinstance(event, ScalarEvent) and event.style is None:
            self._problem(path, "the merge key `<<` is not part of YAML 1.2; write the keys out", event)
            return None
        if isinstance(key, str):
            return key
        shown = event.value if isinstance(event, ScalarEvent) else "a mapping or a list"
        self._problem(
            path, f"the key `{shown}` is no text; a key that looks like a number or null goes in quotes", event
        )
        return None

    def _scalar(self, event: Any, path: tuple[str | int, ...]) -> Scalar:
        if event.style is None:
            try:
                value = plain_scalar(event.value)
            except ValueError:
                self._problem(path, f"a number of {len(event.value)} digits is more than can be read", event)
                return None
        else:
            value = str(event.value)
        if isinstance(value, str):
            self._check_text(value, path, event)
        return value

    def _check_text(self, text: str, path: tuple[str | int, ...], event: Any) -> None:
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._problem(path, "half of a surrogate pair is no character; write the character itself", event)
        if (found := _SUBSTITUTION.search(text)) is not None:
            self._problem(
                path,
                f"`{found[0]}` would not be replaced by anything; write the value, or set it as an override",
                event,
            )

    def _count(self, values: int, event: Any) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise _TooMuchError(f"more than {MAX_VALUES} values, aliases counted in full", _line(event))

    def _problem(self, path: tuple[str | int, ...], message: str, event: Any) -> None:
        self.problems.append(Problem(".".join(str(segment) for segment in path), message, _line(event)))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _tag(event: Any) -> str:
    """A tag as it is written: ``!!int`` for ``tag:yaml.org,2002:int``."""
    return str(event.tag).replace("tag:yaml.org,2002:", "!!")
