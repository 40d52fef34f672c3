"""A method as the trainer asks it: what it answers is checked, and what it raises names it.

A method is somebody else's code. What it may not do (train a role that is frozen, step one that has no loss, give names that are none) is
refused here at the first step that shows it, because every one of these would otherwise train something else than its author meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import NoReturn

from torch import Tensor

from distill_core.config.cadence import updates_of
from distill_core.errors import DistillError, MethodError, PluginError
from distill_core.memory_full import ran_out
from distill_core.plugins.answers import ill_typed
from distill_core.plugins.border import describe
from distill_core.protocols.batch import Batch
from distill_core.protocols.draw import Draw
from distill_core.protocols.method import Follows, Method, StagedLoss
from distill_core.protocols.validator import ValidationRequest
from distill_core.training.roles import RoleHandle


class _Border:
    """What a method raises inside becomes a MethodError that names it. No generator, which costs five times as much in every step."""

    def __init__(self, name: str, doing: str) -> None:
        self._name = name
        self._doing = doing

    def __enter__(self) -> None:
        """Nothing is needed before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise in its place what is to be said of an error of the method's."""
        if isinstance(error, PluginError):
            raise MethodError(f"method {self._name!r}, {self._doing}: {error}") from error
        if isinstance(error, Exception | SystemExit) and not isinstance(error, DistillError) and ran_out(error) is None:
            raise MethodError(
                f"method {self._name!r}, {self._doing}, raised {describe(error)}; DISTILL_TRACEBACK=1 shows where"
            ) from error


class AskedMethod(Method):
    """A method under its name, with the roles of the run. Raises MethodError for whatever breaks the contract."""

    def __init__(self, method: Method, name: str, roles: Mapping[str, RoleHandle]) -> None:
        self.method = method
        self.name = name
        self.roles = roles
        self.trained = tuple(name for name, role in roles.items() if role.trainable)
        self.followers = tuple(name for name, role in roles.items() if role.leader is not None)
        self._last_due: tuple[int, tuple[str, ...]] = (-1, ())
        self._updates: dict[int, Counter[str]] = {}

    def _border(self, doing: str) -> _Border:
        return _Border(self.name, doing)

    def _fault(self, step: int, fault: str) -> MethodError:
        return MethodError(f"method {self.name!r}, step {step}: {fault}")

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """The roles that are due: a tuple of names of trained roles. A function of the step, which a step asks once."""
        if self._last_due[0] != step:
            self._last_due = step, self._due(step)
        return self._last_due[1]

    def updates(self, steps: int) -> Counter[str]:
        """How often each role steps in a run of so many steps. Each step is asked once, however often this is."""
        if steps not in self._updates:
            self._updates[steps] = updates_of(self.roles_to_step, steps)
        return self._updates[steps]

    def _due(self, step: int) -> tuple[str, ...]:
        """What the method says of it."""
        with self._border(f"asked who steps at step {step}"):
            due = self.method.roles_to_step(step)
        if not isinstance(due, tuple):
            raise self._fault(step, f"roles_to_step gives {due!r}, not a tuple of names; a single one is ({due!r},)")
        for name in due:
            if name not in self.trained:
                raise self._fault(step, f"it steps {name!r}, which is {self._no_trained_role(name)}")
        if len(set(due)) < len(due):
            raise self._fault(step, f"roles_to_step gives {due!r}; a role steps once a step, so name each once")
        return due

    def _no_trained_role(self, name: str) -> str:
        kind = "frozen" if name in self.roles else "no role"
        return f"{kind}; the trained roles are {', '.join(self.trained)}"

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The losses of one micro-step: at least one, each a scalar with a graph that trains roles which step at its end."""
        due, count, had = self.roles_to_step(draw.step), 0, set[str]()
        making = self._border(f"making the losses of step {draw.step}")
        with making:
            staged = iter(self.method.losses(batch, draw))
        try:
            while True:
                with making:
                    try:
                        loss = next(staged)
                    except StopIteration:
                        break
                count += 1
                self._check(loss, due, draw.step)
                self._note_done(loss, due, had, draw.step)
                yield loss
                had |= set(loss.roles)
        finally:
            for role in self.roles.values():
                role.done = False
        if not count:
            raise self._fault(draw.step, "it yields no loss, so nothing would be trained")

    def _check(self, loss: object, due: tuple[str, ...], step: int) -> None:
        if not isinstance(loss, StagedLoss) or not isinstance(loss.value, Tensor):
            given = type(loss.value if isinstance(loss, StagedLoss) else loss).__name__
            raise self._fault(step, f"losses gives a {given}; yield StagedLoss(role, name, value) with a tensor")
        for name in loss.roles:
            if name not in self.trained:
                raise self._fault(step, f"{loss.name!r} trains {name!r}, which is {self._no_trained_role(name)}")
            if name not in due:
                remedy = "ask roles_to_step(draw.step) before making it"
                raise self._fault(step, f"{loss.name!r} trains {name!r}, which does not step at this step; {remedy}")
        if loss.value.numel() != 1:
            raise self._fault(step, f"{loss.name!r} is no scalar: its shape is {list(loss.value.shape)}")
        if not loss.value.requires_grad:
            raise self._fault(
                step, f"{loss.name!r} has no graph, so it trains nothing; is it made under torch.no_grad?"
            )

    def _note_done(self, loss: StagedLoss, due: tuple[str, ...], had: set[str], step: int) -> None:
        """Mark the roles that are due and have ``had`` their last loss. Of one that is not due, being done with it says nothing."""
        if not isinstance(loss.done, tuple):
            raise self._fault(step, f"{loss.name!r} has done={loss.done!r}, not a tuple of names")
        for name in loss.done:
            if name not in self.roles:
                known = ", ".join(self.roles)
                raise self._fault(step, f"{loss.name!r} has {name!r} as done, which is no role; roles: {known}")
            if name in due and name not in had:
                raise self._fault(step, f"{loss.name!r} has {name!r} as done, and no loss before it trains {name!r}")
            self.roles[name].done = name in due
        again = [name for name in loss.roles if self.roles[name].done]
        if again:
            raise self._fault(
                step, f"{loss.name!r} trains {', '.join(again)}, which an earlier loss, or this one, names in `done`"
            )

    def refuse_untrained(self, step: int, trained: set[str]) -> None:
        """Raise MethodError if a role that steps at the end of ``step`` was named by none of its losses."""
        idle = [name for name in self.roles_to_step(step) if name not in trained]
        if idle:
            raise self._fault(step, f"it steps {', '.join(idle)}, and no loss of this step trains it")

    def refuse_written(self, step: int, role: str, name: str) -> NoReturn:
        """Raise MethodError for frozen weights that are no longer what was loaded."""
        remedy = "what moves is a role with RoleNeed(trainable=False, follows=...), or a buffer of one with RoleNeed(module=...)"
        raise self._fault(step, f"it changed {name} of role {role!r}, which is frozen and in no checkpoint; {remedy}")

    def keeps(self, step: int) -> Mapping[str, float]:
        """The share of its own weights that each follower keeps after ``step``; only followers whose leader stepped."""
        due = self.roles_to_step(step)
        moving = [name for name in self.followers if self.roles[name].leader in due]
        if not moving:
            return {}
        with self._border(f"asked what followers keep at step {step}"):
            method: Follows = self._following()
            keeps = dict(method.keeps(step))
        for name, share in keeps.items():
            if name not in self.followers:
                raise self._fault(
                    step, f"keeps names {name!r}, which follows nobody; followers: {', '.join(self.followers)}"
                )
            if not 0.0 <= share <= 1.0:
                raise self._fault(step, f"keeps gives {name!r} a share of {share}, which is not in [0, 1]")
        return {name: keeps[name] for name in moving if name in keeps}

    def _following(self) -> Follows:
        if not isinstance(self.method, Follows):
            raise PluginError(f"{', '.join(self.followers)} follow, and it has no keeps(step) that says how")
        return self.method

    def validation(self, step: int) -> ValidationRequest | None:
        """How its result is to be sampled, by a role of the run that is a model."""
        with self._border(f"asked what to validate at step {step}"):
            request: object = self.method.validation(step)
        if request is None:
            return None
        if not isinstance(request, ValidationRequest):
            given = type(request).__name__
            raise self._fault(step, f"validation gives a {given}; return a ValidationRequest, or None")
        if request.role not in self.roles:
            raise self._fault(step, f"it validates {request.role!r}, which is no role; roles: {', '.join(self.roles)}")
        fault = ill_typed(request, ValidationRequest)
        if fault is not None:
            raise self._fault(step, f"its validation cannot be sampled: {fault}")
        return request
