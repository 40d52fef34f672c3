"""What is found wrong with a run, wherever it is found, as faults of its run.yaml: collected, placed at keys, told at once.

Finds nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from distill_core.config.document import Document, KeyPath, dotted
from distill_core.config.faults import by_line
from distill_core.config.schema import Data
from distill_core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DistillError,
    ModelFolderError,
    PluginError,
    Problem,
    RunDirectoryError,
)

OF_THEIR_OWN = (DataError, CheckpointError, RunDirectoryError)
"""Errors with an exit status of their own, which a run keeps if nothing else is wrong with it."""

_NAMED_KEY = re.compile(rf"(data\.(?:{'|'.join(Data.model_fields)})|output_dir)(?:: | )(.+)", re.DOTALL)


def problems_of_error(error: DistillError, document: Document, at: KeyPath) -> list[Problem]:
    """What an error says, as faults at the keys that it names; ``at`` is the key of one that names none."""
    if isinstance(error, ConfigError):
        return [replace(_placed(each, document), cause=each.cause) for each in error.problems]
    named = _NAMED_KEY.fullmatch(str(error))
    path, message = (at, str(error)) if named is None else (tuple(named[1].split(".")), named[2])
    return [replace(document.problem(path, message), cause=error)]


def _placed(problem: Problem, document: Document) -> Problem:
    """The problem with the line of its key, if it has a key and no line yet."""
    if not problem.key or problem.line is not None:
        return problem
    return document.problem(tuple(problem.key.split(".")), problem.message)


def refusal(problems: Iterable[Problem], source: str | Path) -> DistillError:
    """One error with all the problems: of the class that was raised where they were found, if that is one, or a ConfigError."""
    error = ConfigError(by_line(dict.fromkeys(problems)), str(source))
    for kind in OF_THEIR_OWN:
        if all(isinstance(problem.cause, kind) for problem in error.problems):
            refused = kind(str(error))
            refused.__cause__ = error.__cause__
            return refused
    return error


def touches(problems: Iterable[Problem], *keys: str) -> bool:
    """Whether a problem lies at one of the dotted keys, or below it."""
    return any(problem.key == key or problem.key.startswith(f"{key}.") for problem in problems for key in keys)


@contextmanager
def about(*path: str | int) -> Iterator[None]:
    """A plugin or a model's folder that is refused inside is refused by a ConfigError, as a fault of this key of the run.yaml."""
    try:
        yield
    except (PluginError, ModelFolderError) as error:
        raise ConfigError([Problem(dotted(path), str(error), cause=error)]) from error


class Faults:
    """All that is wrong with one run, as far as it has been found.

    Attributes:
        problems: the faults.
    """

    def __init__(self, document: Document, source: str | Path, problems: Sequence[Problem] = ()) -> None:
        self._document = document
        self._source = source
        self.problems = list(problems)

    @contextmanager
    def at(self, *path: str | int) -> Iterator[None]:
        """A DistillError that is raised inside is kept as a fault, at this key where it names none, and ends the block."""
        try:
            yield
        except DistillError as error:
            self.problems += problems_of_error(error, self._document, path)

    def touch(self, *keys: str) -> bool:
        """Whether a fault lies at one of the dotted keys, or below it: what depends on them cannot be judged."""
        return touches(self.problems, *keys)

    def refuse(self) -> None:
        """Raise one error with every fault; nothing if there is none."""
        if self.problems:
            raise refusal(self.problems, self._source)
