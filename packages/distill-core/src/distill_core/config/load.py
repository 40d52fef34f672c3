"""From a run.yaml and overrides to a :class:`~distill_core.config.schema.RunConfig`, with all their faults at once.

Knows no plugin: ``pipeline_config`` and ``method_config`` are taken as they are; :mod:`distill_core.config.resolve` checks them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from distill_core.config.compose import compose
from distill_core.config.document import Document, read_document, shown_override
from distill_core.config.faults import by_line, problems_of, validated
from distill_core.config.schema import RunConfig
from distill_core.errors import UNKNOWN_SOURCE, ConfigError, DataError, Problem

MAX_BYTES = 1_000_000


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
        except ConfigError as error:
            if any(problem.line is not None for problem in error.problems) or error.source != UNKNOWN_SOURCE:
                raise
            located = [self.document.problem(tuple(each.key.split(".")), each.message) for each in error.problems]
            raise ConfigError(located, str(self.path)) from error
        except DataError as error:
            key, colon, message = str(error).partition(": ")
            if not (colon and key.startswith("data.")):
                key, message = "data.path", str(error)
            line = self.document.line(key)
            where = str(self.path) if line is None else f"{self.path}:{line}"
            raise DataError(f"{where}: {key}: {message}") from error


@dataclass(frozen=True)
class ParsedRun:
    """A run.yaml that could be read, right or wrong: ``config`` is None where the schema is not obeyed."""

    document: Document
    config: RunConfig | None
    problems: tuple[Problem, ...]


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> LoadedRun:
    """Read and check a run.yaml with ``key.path=value`` overrides. Raises ConfigError with every problem found."""
    parsed = parse_run(path, overrides)
    if parsed.config is None or parsed.problems:
        raise ConfigError(by_line(parsed.problems), str(path))
    return LoadedRun(parsed.config, parsed.document, Path(path), tuple(overrides))


def parse_run(path: str | Path, overrides: Sequence[str] = ()) -> ParsedRun:
    """Read a run.yaml and collect its problems. Raises ConfigError for a file that cannot be read at all."""
    document = read_document(_text(Path(path)), str(path))
    problems = list(document.problems)
    for override in overrides:
        document = _overridden(document, override, problems)
    config = None
    try:
        config = validated(RunConfig, document.data)
    except ValidationError as error:
        problems += problems_of(error, RunConfig, document)
    return ParsedRun(document, config, tuple(problems))


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
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or "" in path:
        problems.append(Problem("", f"{shown_override(override)}: write it as key.path=value"))
        return document
    node, faults = compose(text)
    problems += [Problem(key, f"{shown_override(override)}: {fault.message}") for fault in faults]
    if faults:
        return document
    try:
        return document.with_override(path, None if node is None else node.value, override)
    except LookupError as error:
        problems.append(Problem(key, f"{shown_override(override)}: {error}"))
        return document
