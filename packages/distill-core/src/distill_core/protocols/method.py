"""A method: the algorithm, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from distill_core.protocols.batch import Batch
    from distill_core.protocols.draw import Draw
    from distill_core.protocols.validator import ValidationRequest


@dataclass(frozen=True)
class StagedLoss:
    """One loss. The trainer runs backward on it before the method goes on, so only one graph is alive at a time.

    Attributes:
        role: the role whose parameters the loss trains, or several roles. Every other role is a constant of it, trained or not.
        name: what it is logged as.
        value: a scalar with a graph.
        metrics: further detached scalar tensors to log; they stay on the device until the log interval.
        done: roles that have had their last loss of this micro-step: neither this one's backward pass nor anything that follows needs their
            weights. They may step before it (`training.step_roles`). Of a role that is not due at this step it says nothing.
    """

    role: str | tuple[str, ...]
    name: str
    value: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    done: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that the loss trains."""
        return (self.role,) if isinstance(self.role, str) else self.role


class Method(Protocol):
    """Built as ``Class(roles, options)``: the run's roles by name, and an instance of the spec's options.

    What a method must remember from step to step lives in roles (a module's buffers, a follower): nothing else is in a checkpoint.
    """

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The losses of one micro-step, one after another. Which role is due is asked of ``roles_to_step(draw.step)``."""
        ...

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The roles whose optimizers step at the end of ``step`` (counted from 1). A pure function of ``step``."""
        ...

    def validation(self, step: int) -> ValidationRequest | None:
        """How this method's result is to be sampled after ``step``; None if it has nothing to show."""
        ...


class ColumnMaker(Protocol):
    """What makes a method's columns before it trains (``MethodSpec.makes``), built as ``Class(roles, options)`` of ``Demands.makers``."""

    def make(self, batch: Batch, draw: Draw) -> Mapping[str, Tensor]:
        """Each made column of the rows of a batch, [B, ...], by name. ``draw`` is keyed by the rows' places in the data; its step is 0."""
        ...


@runtime_checkable
class Follows(Protocol):
    """What a method with followers (``RoleNeed.follows``), or with roles that are drawn to others (``RoleNeed.drawn_to``), has besides."""

    def keeps(self, step: int) -> Mapping[str, float]:
        """The share of its own weights, in [0, 1], that each follower keeps when it moves after ``step``; the rest is its leader's.

        A pure function of ``step``. A follower that is not named stays as it is. Asked only after steps in which the leader stepped.
        """
        ...
