"""The errors that a user can cause, each with the exit status of its kind. A message names the fault and its remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class DistillError(Exception):
    """Something the user can put right. The command line prints its message, without a traceback, and exits with ``exit_code``."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One fault of a run.yaml: where it stands (dotted key and line, when known) and what to do about it.

    ``cause`` is what was raised where the fault was found, e.g. by a plugin; ``DISTILL_TRACEBACK=1`` shows it.
    """

    key: str
    message: str
    line: int | None = None
    cause: BaseException | None = field(default=None, repr=False, compare=False)


UNKNOWN_SOURCE = "run.yaml"
"""What a ConfigError names where it was raised by something that never saw the file."""


class ConfigError(DistillError):
    """A run.yaml or an override that cannot be run; carries every problem found, not only the first, and follows from their causes."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem], source: str = UNKNOWN_SOURCE) -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(self._lines()))
        causes = list(dict.fromkeys(problem.cause for problem in self.problems if problem.cause is not None))
        if causes:
            self.__cause__ = causes[0] if len(causes) == 1 else BaseExceptionGroup("the causes of these faults", causes)

    def _lines(self) -> list[str]:
        lines = []
        for problem in self.problems:
            where = self.source if problem.line is None else f"{self.source}:{problem.line}"
            lines.append(f"{where}: {problem.key}: {problem.message}" if problem.key else f"{where}: {problem.message}")
        return lines


class PluginError(DistillError):
    """A plugin that a run names is missing, broken, blocked, incompatible or in conflict with another."""

    exit_code = 2


class MethodError(PluginError):
    """A method that raised, or that breaks its contract, while a run trains."""

    exit_code = 70


class StreamError(DistillError):
    """A causal prediction was given a stream that does not belong to it: of another batch, or of another model."""

    exit_code = 70


class ModelFolderError(DistillError):
    """A path that is no pipeline of the family, or a member of the family that is not supported."""

    exit_code = 2


class ForeignPipelineError(ModelFolderError):
    """Nothing by which the family knows one of its own: a pipeline of a class that it does not take, or no pipeline; another family may.

    Attributes:
        what: what it is and what to do, whichever family is asked; the message may say more of the family that was.
    """

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message)
        self.what = what


class UnsupportedMemberError(ModelFolderError):
    """A model that the family knows by name and does not take: what others say of its folder is of no use then."""


class DataError(DistillError):
    """Training data that is missing, malformed, or does not fit the model."""

    exit_code = 65


class PlanError(DistillError):
    """A run of which it cannot be told, without its weights, what it needs."""

    exit_code = 2


class CheckpointError(DistillError):
    """No checkpoint that can be resumed from, or one that does not fit this run."""

    exit_code = 66


class DamagedError(CheckpointError):
    """A checkpoint that is not, to the bit, what was written."""


class MemoryFullError(DistillError):
    """A device, or the host, has less memory than was asked for."""

    exit_code = 71


class DiskFullError(DistillError):
    """No room for what is to be written; what was there is as it was."""

    exit_code = 74


class RunDirectoryError(DistillError):
    """A run directory, or an output folder, that already holds something else."""

    exit_code = 73


class NonFiniteError(DistillError):
    """A loss or a gradient became NaN or infinite; nothing after the last checkpoint was kept."""

    exit_code = 76


class StoppedError(DistillError):
    """A signal asked the process to leave, and it did so in order; the exit status is a shell's for that signal."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 128 + number


class PeerError(DistillError):
    """Another process of the run ended, hung, or disagrees, so that this one cannot go on.

    Attributes:
        told: whether another process tells a person already.
    """

    exit_code = 79

    def __init__(self, message: str, *, told: bool) -> None:
        super().__init__(message)
        self.told = told
