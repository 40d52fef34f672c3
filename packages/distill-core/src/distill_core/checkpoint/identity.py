"""What a run rests on, as a checkpoint records it, and whether a run that goes on from there rests on the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from distill_core.config.schema import NULL_IS_SAID
from distill_core.errors import CheckpointError, DamagedError

_SHOWN = 12


class Identity(BaseModel):
    """What the steps of a run follow from, beside its checkpoint: a run goes on exactly if it rests on the same.

    Attributes:
        rests_on: by name, e.g. ``data`` or ``weights.ROLE``: a version, or ``KIND:HASH``, which compares with its own kind alone.
        settings: the keys of the resolved run that a resumed run may not change, without secrets and paths.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rests_on: dict[str, str] = {}
    settings: dict[str, JsonValue] = {}


@dataclass(frozen=True)
class Consent:
    """What a person lets be other than it was.

    Attributes:
        names: of :attr:`Identity.rests_on`.
        settings: whether any setting may be.
        left_to_the_machine: settings that were not asked for, and fit whatever an earlier process chose.
    """

    names: frozenset[str] = frozenset()
    settings: bool = False
    left_to_the_machine: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Differences:
    """How a run differs from the one that a checkpoint is of.

    Attributes:
        rests_on: by name, what was there and what is here.
        settings: the same of settings, in a line each.
        incomparable: what is held in another way than it was, and so has no hash to compare.
    """

    rests_on: dict[str, str]
    settings: tuple[str, ...]
    incomparable: tuple[str, ...]

    @classmethod
    def between(cls, there: Identity, here: Identity, left_to_the_machine: Iterable[str]) -> Differences:
        """``there``: as it was recorded."""
        rests_on: dict[str, str] = {}
        incomparable = []
        for name in sorted(there.rests_on.keys() | here.rests_on.keys()):
            before, now = there.rests_on.get(name, "nothing"), here.rests_on.get(name, "nothing")
            kinds = [text.partition(":")[0] for text in (before, now) if ":" in text]
            if len(set(kinds)) == 2:
                incomparable.append(f"{name} ({kinds[0]} there, {kinds[1]} here)")
            elif before != now:
                rests_on[name] = f"{name}: {_short(before)} there, {_short(now)} here"
        compared = (there.settings.keys() | here.settings.keys()) - set(left_to_the_machine)
        settings = tuple(
            f"{key}: {shown(there.settings, key)} there, {shown(here.settings, key)} here"
            for key in sorted(compared)
            if shown(there.settings, key) != shown(here.settings, key)
        )
        return cls(rests_on, settings, tuple(incomparable))

    @contextmanager
    def told_of_what_is_missing(self) -> Iterator[None]:
        """A CheckpointError for weights that a checkpoint does not have says which settings differ: they have made the run another."""
        try:
            yield
        except DamagedError:
            raise
        except CheckpointError as error:
            if not self.settings:
                raise
            raise CheckpointError(
                f"{error}. What was changed since ({'; '.join(self.settings)}) makes weights that it does not have: put that back, or "
                "choose another output_dir"
            ) from error

    def refuse(self, consent: Consent, where: str) -> None:
        """Raise CheckpointError, with the remedy, for what there is no consent to."""
        unnamed = [name for name in self.rests_on if name not in consent.names]
        settings = () if consent.settings else self.settings
        if not unnamed and not settings:
            return
        remedies = []
        if unnamed:
            remedies.append(f"checkpoint.accept=[{', '.join([*sorted(consent.names), *unnamed])}]")
        if settings:
            remedies.append("checkpoint.resume=changed")
        found = "; ".join([*(self.rests_on[name] for name in unnamed), *settings])
        raise CheckpointError(
            f"the run does not rest on what {where} rests on ({found}); put back what it was, choose another output_dir, or go on with "
            f"what it is by {' '.join(remedies)}"
        )


def shown(flat: Mapping[str, Any], key: str) -> str:
    """A setting as a difference shows it; where a null is a setting, a key that is not there is something else."""
    if key not in flat and key.rpartition(".")[2] in NULL_IS_SAID:
        return "not set"
    value = flat.get(key)
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)


def _short(text: str) -> str:
    """A hash as people compare it."""
    kind, colon, digest = text.partition(":")
    return f"{kind} {digest[:_SHOWN]}" if colon else text
