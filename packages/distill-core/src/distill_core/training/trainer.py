"""The training loop. It knows no model family, no method and no role's meaning: who trains what, and when, is the method's."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from distill_core.checkpoint import Checkpoints
from distill_core.errors import NonFiniteError, StoppedError
from distill_core.protocols.method import StagedLoss
from distill_core.protocols.tracker import Tracker
from distill_core.protocols.trainer import TrainingSummary
from distill_core.protocols.validator import Validator
from distill_core.randomness import key_bits
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.stopping import Stopping
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress
from distill_core.training.asking import AskedMethod
from distill_core.training.batches import Batches
from distill_core.training.draws import KeyedDraw, seed_global
from distill_core.training.frozen import FrozenWatch
from distill_core.training.grace import Grace
from distill_core.training.gradients import untouched
from distill_core.training.guard import FiniteGuard, of_all
from distill_core.training.guarded_adamw import Flag
from distill_core.training.metrics import MetricWindow
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.reduction import Reduction
from distill_core.training.roles import RoleHandle
from distill_core.training.saving import Saving, refuse_broken
from distill_core.training.schedule import Schedule
from distill_core.training.state import TrainingState

MOST_SKIPPED = 10
"""So many broken steps one after another are no accident of the data."""
MOST_ROLLBACKS = 3
"""So often a run goes back to one checkpoint: by then other rows do not help."""


class DistillTrainer:
    """The default :class:`distill_core.protocols.Trainer`.

    ``start`` is the step that ``state`` is at: 0, or that of the checkpoint that was loaded into it. ``validated``: whether the
    run's record has a validation of that step already.

    One step draws ``accumulation`` batches. Each staged loss of the method is scaled and run backward before the method goes on; then
    the roles that the method names are clipped, stepped and cleared, or, where roles step alone, each once the method is done with it.
    """

    def __init__(
        self,
        schedule: Schedule,
        method: AskedMethod,
        state: TrainingState,
        batches: Batches,
        device: torch.device,
        *,
        start: int,
        validated: bool,
        checkpoints: Checkpoints,
        tracker: Tracker,
        events: Events,
        progress: Progress,
        validator: Validator | None,
        stopping: Stopping,
        ranks: Ranks = ALONE,
    ) -> None:
        self.schedule = schedule
        self.method = method
        self.state = state
        self.batches = batches
        self.device = device
        self.start = start
        self.validated = validated
        self.checkpoints = checkpoints
        self.tracker = tracker
        self.events = events
        self.progress = progress
        self.validator = validator
        self.stopping = stopping
        self.ranks = ranks
        self.reduction = Reduction(ranks)
        self.saving = Saving(checkpoints, ranks, schedule.save_interval, schedule.save_every)
        self._frozen: FrozenWatch | None = None
        self._said: Sequence[int] = (0, 0)
        self.grace = Grace(stopping, ranks)
        self._agreed: signal.Signals | None = None
        self.window = MetricWindow()
        self.guard = FiniteGuard(device, freeze=schedule.on_nonfinite != "skip")
        self._skipped = 0
        self._last_skipped = self._in_a_row = 0
        self._rollbacks: list[int] = []

    def run(self) -> TrainingSummary:
        """Train from after ``start`` to the last step.

        Raises StoppedError where the process was asked to leave: after the step that was going on, and a checkpoint. A validation
        that is due then is made when the run goes on.
        """
        started = time.monotonic()
        self._frozen = FrozenWatch(self.state.roles)
        first, last = self.start + 1, self.schedule.last
        if self._owes_validation():
            self.validate(self.start)
        self._hear()
        self._heed(self.start)
        with self.progress.training(first, last), self.checkpoints.left_whole():
            step = self.start
            while step < last:
                step += 1
                try:
                    self._advance(step)
                except NonFiniteError as error:
                    step = self._gone_back(step, error)
                self._heed(step)
        return TrainingSummary(max(last, self.start), time.monotonic() - started, self.checkpoints.latest())

    def _advance(self, step: int) -> None:
        """Train a step, and do what is due after it."""
        self.train_step(step)
        if step == self.start + 1:
            self._refuse_written(step)
        self.saving.hear(self.saving.say() if self.ranks.alone else self._said)
        self.progress.advance(step)
        if self._due(step, self.schedule.log_interval):
            self.log(step)
        validates = self._due(step, self.schedule.validation_interval)
        saves = self.saving.due(step) or step == self.schedule.last
        if saves:
            self._save_in_time(step)
        if validates:
            self._refuse_broken(step)
        if validates and self._asked is None:
            self.validate(step)
        if self._asked is not None and not saves:
            self._save_in_time(step)
        if self._asked is not None or step == self.schedule.last:
            self._settle_saves()

    @property
    def _asked(self) -> signal.Signals | None:
        """The signal that asked this process to leave, or, of several, any: as they last agreed, so that all leave after the same step."""
        return self.stopping.asked if self.ranks.alone else self._agreed

    def _hear(self) -> None:
        """Let the ranks agree on it."""
        if not self.ranks.alone:
            self._heard(*self.ranks.most([int(self.stopping.asked or 0)]))

    def _heard(self, number: int) -> None:
        self._agreed = signal.Signals(number) if number else None

    def _owes_validation(self) -> bool:
        """Whether the step to start from has a validation to come: at the very start, or one that an earlier process was kept from."""
        due = (
            self._due(self.start, self.schedule.validation_interval) if self.start else self.schedule.validate_at_start
        )
        return due and not self.validated

    def _heed(self, step: int) -> None:
        """Leave after ``step``, which is saved, if the process was asked to."""
        if self._asked is None:
            return
        newest = self.checkpoints.latest()
        remedy = "nothing was saved yet" if newest is None else f"the same command goes on from {newest}"
        name, unsaved = self._asked.name, "" if self.grace.refused is None else f"{self.grace.refused}; "
        raise StoppedError(f"{name} came by step {step} of {self.schedule.max_steps}; {unsaved}{remedy}", self._asked)

    def train_step(self, step: int) -> None:
        """One step: accumulate the gradients of every staged loss, then step the roles that are due and move those that follow them."""
        if self.schedule.sparsity is not None:
            for role in self.state.roles.values():
                role.sparsity = self.schedule.sparsity.at(step)
        trained: set[str] = set()
        stepped: list[str] = []
        self.ranks.at(step)
        for micro_step in range(self.schedule.accumulation):
            rows, positions, latent_shape = next(self.state.stream)
            batch = self.batches.prepare(rows, latent_shape)
            draw = KeyedDraw(self.schedule.seed, step, micro_step, positions, self.device)
            # A module that draws from the global stream (a plugin's dropout) is resumable all the same.
            own = (self.ranks.group_number,) if self.ranks.group_number else ()
            seed_global(self.device, key_bits(self.schedule.seed, step, micro_step, "global", *own))
            alone = self.schedule.step_roles == "alone" and micro_step == self.schedule.accumulation - 1
            for loss in self.method.losses(batch, draw):
                done = [name for name in loss.done if alone and self.state.roles[name].done and name not in stepped]
                if done:
                    self._step_roles(done, step, stepped, last=False)
                    stepped += done
                self._backward(loss)
                self.guard.see(step, loss.name, loss.value, [row.id for row in rows])
                trained |= set(loss.roles)
        self.method.refuse_untrained(step, trained)
        self._update(step, stepped)

    def _update(self, step: int, stepped: Sequence[str]) -> None:
        """Step the roles that are due and have not, and move those that follow, unless the step is broken; forget all gradients."""
        due = self.method.roles_to_step(step)
        flag = self._step_roles([name for name in due if name not in stepped], step, stepped, last=True)
        for name, share in self.method.keeps(step).items():
            follower = self.state.roles[name]
            assert follower.leader is not None
            follower.follow(self.state.roles[follower.leader], share, flag)
        for name, role in self.state.roles.items():
            if name not in due and role.optimizer is not None:
                role.optimizer.clear()  # no checkpoint holds gradients: one that outlived its step would be lost by a resume

    def _step_roles(self, names: Sequence[str], step: int, stepped: Sequence[str], *, last: bool) -> Flag:
        """Judge what has been seen of the step, and step some roles, unless it is broken. ``stepped``: those that have by now."""
        if self.ranks.alone:
            norms, elsewhere = {name: self._optimizer(name).norm() for name in names}, None
        else:
            norms, elsewhere = self._reduce(names, last=last)
        figures = self.window.open_on(self.guard.device)
        verdict = self.guard.judge(
            step, {f"grad_norm/{name}": norm for name, norm in norms.items()}, elsewhere, figures, stepped
        )
        for name, norm in norms.items():
            self._optimizer(name).clip(norm)
        self.window.take(verdict.names, verdict.values)
        self.window.seal()
        for name in names:
            self._step_role(self.state.roles[name], step, verdict.flag)
        return verdict.flag

    def _reduce(self, names: Sequence[str], *, last: bool) -> tuple[dict[str, Tensor], Tensor]:
        """Bring the ranks' gradients together, and at a step's ``last`` hear of a signal.

        Returns their norms, and what is NaN where any loss is not finite.
        """
        optimizers = {name: self._optimizer(name) for name in names}
        said = (int(self.stopping.asked or 0), *self.saving.say()) if last else ()
        heard, parameters = self.reduction.agree(optimizers, said)
        if last:
            number, *self._said = heard
            self._heard(number)
            self.reduction.average_buffers(self.state.roles)
        return self.reduction.settle(optimizers, parameters, self.guard.poison())

    def _backward(self, loss: StagedLoss) -> None:
        """Gradients to the roles that the loss names, and to no other."""
        constant = [optimizer for name, (_, optimizer) in self.state.trained.items() if name not in loss.roles]
        with untouched(parameter for optimizer in constant for parameter in optimizer.parameters.values()):
            parts = self.schedule.accumulation
            (loss.value if parts == 1 else loss.value / parts).backward()
        for role in self.state.roles.values():
            role.rest()
        for name, value in loss.metrics.items():
            self.window.add(name, value)

    def _optimizer(self, name: str) -> RoleOptimizer:
        optimizer = self.state.roles[name].optimizer
        assert optimizer is not None, f"the method steps {name}, which is frozen"
        return optimizer

    def _step_role(self, role: RoleHandle, step: int, flag: Flag) -> None:
        """Update weights and average, unless the step is broken."""
        self._optimizer(role.name).step(flag)
        if role.average is not None:
            role.average.update(role.trained_parameters(), step, flag)

    def log(self, step: int) -> None:
        """Bring the window's means to the host, answer what was not finite, and track them."""
        figures = self.window.means(self.ranks)
        self._settle()
        self.state.stream.share(self.ranks)
        if self._skipped:
            figures["skipped_steps"], self._skipped = self._skipped, 0
        elif self.window.left_out:
            left_out = ", ".join(f"{name} ({count} times)" for name, count in self.window.left_out.items())
            self.events.warn(
                "not_finite", f"not finite by step {step}, and left out of its mean: {left_out}", step=step
            )
        if not figures:
            return
        for role in self.state.roles.values():
            if role.optimizer is not None:
                figures[f"learning_rate/{role.name}"] = role.optimizer.last_learning_rate
        if self.schedule.sparsity is not None:
            figures["vsa_sparsity"] = self.schedule.sparsity.at(step)
        figures["steps_per_second"] = self.progress.rate
        if self.device.type == "cuda":
            figures["peak_memory_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        self.tracker.log(figures, step)
        self.progress.figures(step, figures)

    def validate(self, step: int) -> None:
        """Carry out the method's validation request, if the run validates and the method asks for anything."""
        request = self.method.validation(step)
        if self.validator is not None and request is not None:
            self.validator.validate(request, step)
            self.ranks.from_first(lambda: None)  # which measures and writes
            self._hear()

    def save(self, step: int) -> None:
        """Publish a checkpoint, of finite figures only, or begin to."""
        self.log(step)
        self._refuse_written(step)
        with self.stopping.held("finishing a checkpoint first"):
            self.saving.save(self.state, step, self.method.validation(step))
            self.tracker.saved(step)

    def _save_in_time(self, step: int) -> None:
        """Save, unless the process was asked to leave, and has no time for it once the save before has come to its end."""
        if self._asked is not None:
            self._settle_saves()
        if self._asked is None or self.grace.suffices(self.checkpoints.took):
            self.save(step)

    def _refuse_written(self, step: int) -> None:
        """Raise MethodError where the method has written into weights that are frozen."""
        changed = None if self._frozen is None else self._frozen.changed()
        if changed is not None:
            self.method.refuse_written(step, *changed)

    def _settle_saves(self) -> None:
        """Wait for a save that goes on behind training."""
        with self.stopping.held("finishing a checkpoint first"):
            self.checkpoints.settle()

    def _settle(self) -> None:
        """Count and tell the steps that were not applied. Raises NonFiniteError where they are not to be passed over."""
        for broken in of_all(self.ranks.gather(self.guard.broken_steps())):
            if self.schedule.on_nonfinite != "skip":
                raise NonFiniteError(f"{broken}; {broken.applied}")
            self._skipped += 1
            self._in_a_row = self._in_a_row + 1 if broken.step == self._last_skipped + 1 else 1
            self._last_skipped = broken.step
            self.events.warn("step_skipped", f"{broken}; the step is skipped: {broken.applied}", step=broken.step)
            if self._in_a_row == MOST_SKIPPED:
                raise NonFiniteError(f"{broken}; {MOST_SKIPPED} steps one after another were like this")

    def _refuse_broken(self, step: int) -> None:
        """Raise NonFiniteError where a checkpoint or a validation would be of weights that an update broke."""
        self._settle()
        refuse_broken(self.state.tensors(), step, self.ranks)

    def _gone_back(self, step: int, error: NonFiniteError) -> int:
        """The step of the last checkpoint, which the run is at again; the rows drawn since are not drawn again.

        Raises NonFiniteError with the remedy, where that is not wanted, not possible, or has not helped.
        """
        with contextlib.suppress(NonFiniteError):  # a save behind training may have found the same
            self._settle_saves()
        good = self.checkpoints.go_back(self.state) if self.schedule.on_nonfinite == "rollback" else None
        if good is None or self._rollbacks.count(good.step) == MOST_ROLLBACKS:
            again = "" if good is None else f", after {MOST_ROLLBACKS} times back to {good.path}"
            raise NonFiniteError(f"{error}{again}. {self._remedy()}") from error
        self._rollbacks.append(good.step)
        self.state.go_back(good.state())
        self.window.clear()
        self.guard.thaw()
        self.tracker.go_back(good.step)
        self.events.warn("rolled_back", f"{error}; back to {good.path}, and on with the rows that follow", step=step)
        return good.step

    def _remedy(self) -> str:
        """How a run that broke can go on."""
        newest = self.checkpoints.latest()
        start = "from the start, as nothing was saved" if newest is None else f"from {newest}"
        return (
            "Lower the learning rates or max_grad_norm and add `checkpoint.resume=changed` to the command: "
            f"the run then goes on {start}, with the new settings; training.on_nonfinite says what else can be done"
        )

    def _due(self, step: int, interval: int | None) -> bool:
        return interval is not None and (step % interval == 0 or step == self.schedule.max_steps)
