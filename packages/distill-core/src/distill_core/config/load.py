"""From a run.yaml and overrides to a :class:`~distill_core.config.schema.RunConfig`, with all their faults at once.

Knows no plugin: ``pipeline_config`` and ``method_config`` are taken as they are; :mod:`distill_core.config.resolve` checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distill_core.config.blame import problems_of_error, refusal
from distill_core.config.document import Document, dotted, read_document, shown_override
from distill_core.config.faults import by_line, problems_of, validated
from distill_core.config.overrides import Override
from distill_core.config.schema import RunConfig
from distill_core.config.shape import Shape
from distill_core.errors import UNKNOWN_SOURCE, ConfigError, DataError, Problem, RunDirectoryError

MAX_BYTES = 1_000_000

STAND_INS: Mapping[str, Any] = {"data": {"path": "-"}, "training": {"max_train_steps": 1}, "output_dir": "-"}
"""What keys without a default are taken for where they are missing or wrong, and the rest of a run.yaml is looked at all the same.

A path has none that is looked at: nothing is opened for a run.yaml with a fault, and only a path that it says is asked after.
"""


SectionsElsewhere = Callable[[Document], Mapping[str, Shape]]


def _nowhere(_: Document) -> Mapping[str, Shape]:
    """Where no plugin is known."""
    return {}


@dataclass(frozen=True)
class LoadedRun:
    """A run.yaml that obeys the schema.

    Attributes:
        config: what it says, overrides applied.
        document: the same as plain data, with line numbers.
        path: the file it was read from.
        overrides: the overrides, verbatim.
    """

    config: RunConfig
    document: Document
    path: Path
    overrides: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The file's text, verbatim, before the overrides."""
        return self.document.text

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What is found wrong with the run inside, later than with the file itself, gets the file's name and the key's line."""
        try:
            yield
        except (ConfigError, DataError, RunDirectoryError) as error:
            if isinstance(error, ConfigError) and error.source != UNKNOWN_SOURCE:
                raise
            at = "output_dir" if isinstance(error, RunDirectoryError) else "data.path"
            raise refusal(problems_of_error(error, self.document, tuple(at.split("."))), self.path) from error


@dataclass(frozen=True)
class ParsedRun:
    """A run.yaml that could be read, right or wrong.

    Attributes:
        document: what it says, overrides applied.
        config: the same, typed; without the keys that are wrong, if there are any, and None if what is left is no run.
        problems: all that is wrong.
    """

    document: Document
    config: RunConfig | None
    problems: tuple[Problem, ...]


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> LoadedRun:
    """Read and check a run.yaml with ``key.path=value`` overrides. Raises ConfigError with every problem found."""
    parsed = parse_run(path, overrides)
    if parsed.config is None or parsed.problems:
        raise ConfigError(by_line(parsed.problems), str(path))
    return LoadedRun(parsed.config, parsed.document, Path(path), tuple(overrides))


def parse_run(path: str | Path, overrides: Sequence[str] = (), elsewhere: SectionsElsewhere = _nowhere) -> ParsedRun:
    """Read a run.yaml and collect its problems. Raises ConfigError for a file that cannot be read at all.

    ``elsewhere``: the mappings that a document's plugins have, by dotted path, for a key that stands in the wrong one.
    """
    document = read_document(_text(Path(path)), str(path))
    problems = list(document.problems)
    for override in overrides:
        document = _overridden(document, override, problems)
    try:
        config: RunConfig | None = validated(RunConfig, document.data)
    except ValidationError as error:
        faults = problems_of(error, RunConfig, document, elsewhere=elsewhere(document))
        config = _what_is_right(document, faults)
        problems += faults
    return ParsedRun(document, config, tuple(problems))


def _what_is_right(document: Document, faults: Sequence[Problem]) -> RunConfig | None:
    """The run without the keys that are wrong, so that the rest can be looked at too; None if too little is left.

    Who looks at it must pass over what depends on a faulty key: it has its default, or a stand-in where it has none.
    """
    right: Mapping[str, Any] | None = document.data
    for path in dict.fromkeys(tuple(fault.key.split(".")) for fault in faults):
        if right is not None and path[0] in right:
            right = _without(right, path)
    if right is None:
        return None
    sections = {**STAND_INS, **right}
    for name in ("data", "training"):
        sections[name] = {**STAND_INS[name], **sections[name]}
    document = replace(document, data=sections)
    try:
        return validated(RunConfig, sections)
    except ValidationError as error:  # a mapping that has lost a key which it needs has to go in its turn
        later = problems_of(error, RunConfig, document)
        return None if later == faults else _what_is_right(document, later)


def _without(value: Any, path: Sequence[str]) -> Mapping[str, Any] | None:
    """A mapping without what stands at a path below it, or None if it has to go itself.

    That is so of a list, whose other items would move up, and of a mapping that lacks the key: it is at fault because it needs that.
    """
    head, *rest = path
    if not isinstance(value, Mapping) or (head not in value and not rest):
        return None
    kept = {key: below for key, below in value.items() if key != head}
    below = _without(value[head], rest) if rest and head in value else None
    return kept if below is None else {**kept, head: below}


def _text(path: Path) -> str:
    """The file's text. Raises ConfigError, saying why, if there is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError([Problem("", "there is no such file")], str(path)) from None
    except IsADirectoryError:
        raise ConfigError([Problem("", "is a folder; name the run.yaml in it")], str(path)) from None
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}")], str(path)) from error
    if len(content) > MAX_BYTES:
        raise ConfigError([Problem("", f"holds {len(content)} bytes, too many for a run.yaml")], str(path))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"byte {content[error.start]:#04x} is not UTF-8; save the file as UTF-8 text"
        raise ConfigError([Problem("", message, line)], str(path)) from error


def _overridden(document: Document, override: str, problems: list[Problem]) -> Document:
    """The document with one override applied, or as it was, with a problem, if it cannot be."""
    try:
        parsed = Override.parsed(override)
    except ConfigError as error:
        problems += error.problems
        return document
    try:
        return document.with_override(parsed.path, parsed.value, override)
    except LookupError as error:
        problems.append(Problem(dotted(parsed.path), f"{shown_override(override)}: {error}"))
        return document
