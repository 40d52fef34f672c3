"""What a plugin tells the core about a reward. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from distill_core.plugins.option_type import Options

Rewards = Literal["none", "any", "differentiable"]
"""What a method asks of a run's rewards: to have none, one or more, or ones whose gradient reaches the pixels."""


class RewardOptions(Options):
    """The base of a reward's options in run.yaml."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    """Its share of the sum of all rewards of the run."""
    enough: float | None = None
    """A clip that scores this or more counts as this, so that its gradient is 0 and only clips below learn; null: the more the better."""


@dataclass(frozen=True)
class RewardSpec:
    """One reward: a number for each clip and its caption, that a method raises.

    Attributes:
        name: what ``rewards`` calls it.
        summary: one line for ``distill plugins list``.
        options: the type of ``rewards.<name>``, a subclass of :class:`RewardOptions`.
        build: ``"module:Class"``, a :class:`distill_core.protocols.Reward`, called as ``Class(options)``.
        differentiable: whether its gradient reaches the pixels.
    """

    kind: ClassVar[Literal["reward"]] = "reward"

    name: str
    summary: str
    options: type[RewardOptions]
    build: str
    differentiable: bool = False

    @property
    def targets(self) -> Mapping[str, str]:
        """What it names to be imported, by field."""
        return {"build": self.build}
