"""What a conformance kit found: every fault with the rule that it breaks and its remedy, raised all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from distill_core.errors import DistillError
from distill_core.plugins.border import RefusedError, plugin_border


@dataclass(frozen=True)
class Fault:
    """One broken rule.

    Attributes:
        rule: the rule in a word or two, the same for every plugin that breaks it.
        message: what was seen, and what to do about it.
    """

    rule: str
    message: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.message}"


class ContractError(AssertionError):
    """A plugin breaks its contract; the message has every fault that was found, one a line."""

    def __init__(self, subject: str, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("\n".join([f"{subject} breaks its contract:", *(f"  {fault}" for fault in faults)]))


class Findings:
    """Collects faults and notes about ``subject``. A fault of one rule is kept once, where it was seen first."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._faults: dict[str, Fault] = {}
        self._notes: dict[str, None] = {}

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What was found, in its order."""
        return tuple(self._faults.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What is no fault and yet worth knowing."""
        return tuple(self._notes)

    def fault(self, rule: str, message: str) -> None:
        """Take in a fault."""
        self._faults.setdefault(rule, Fault(rule, message))

    def note(self, message: str) -> None:
        """Take in a note."""
        self._notes[message] = None

    def expect(self, holds: bool, rule: str, message: str) -> None:
        """Take in a fault unless something holds."""
        if not holds:
            self.fault(rule, message)

    @contextmanager
    def border(self, rule: str, where: str = "") -> Iterator[None]:
        """Whatever is raised inside is a fault: a refusal in its own words, anything else with the name of its type."""
        try:
            with plugin_border():
                yield
        except RefusedError as refusal:
            cause = refusal.__cause__
            self.fault(rule, where + (str(cause) if isinstance(cause, DistillError) else f"it raised {refusal.reason}"))

    def raise_faults(self) -> None:
        """Raise ContractError if anything was found."""
        if self._faults:
            raise ContractError(self.subject, self.faults)
