"""A run that is built to be played: the trainer, the method and the roles are the real ones, and nothing is saved, logged or written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from distill_core.checkpoint import Checkpoints
from distill_core.config.resolve import ResolvedRun
from distill_core.config.sampled import completed
from distill_core.data.reading.order import Bucket
from distill_core.data.reading.stream import RowStream
from distill_core.planning.hollow import hollow_out, storage_of
from distill_core.planning.ledger import Ledger, Owner, Phase
from distill_core.planning.made_up_rows import MadeUpRows
from distill_core.planning.middle_draw import middle
from distill_core.planning.played_parts import PlayedParts
from distill_core.planning.played_reduction import PlayedReduction
from distill_core.planning.played_rewards import play_rewards
from distill_core.planning.played_transfers import PlayedTransfers
from distill_core.planning.subject import Subject
from distill_core.protocols.batch import Batch
from distill_core.protocols.draw import Draw
from distill_core.protocols.method import StagedLoss
from distill_core.protocols.validator import ValidationRequest
from distill_core.ranks.played import PlayedRanks
from distill_core.ranks.ranks import Ranks
from distill_core.running.build import encode_texts, schedule_of
from distill_core.running.roles import RoleBuilder, attach_optimizers, build_method, build_models
from distill_core.running.settling import Settling
from distill_core.stopping import Stopping
from distill_core.terminal import quiet
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress
from distill_core.tracking.silence import Silence
from distill_core.training.asking import AskedMethod
from distill_core.training.batches import Batches
from distill_core.training.by_rule import HeldByRule
from distill_core.training.parts import parts
from distill_core.training.roles import OWN_MODULE, RoleHandle
from distill_core.training.sharding import blocks_of
from distill_core.training.state import TrainingState
from distill_core.training.trainer import DistillTrainer
from distill_core.training.unread import Unread

FEW = 2
"""Micro-steps of a step, and steps of a schedule's sampling, that are played: the first, and one that follows another."""
LENT: Owner = ("encoders", "weights")
"""Owner of the weights of what encodes and decodes."""
LOADING = "loading"
"""The phase in which the roles are made, each whole at first, or a block of it at a time."""
UPDATE = "update"
"""The phase after the last loss."""


class PhasedMethod(AskedMethod):
    """A method whose losses begin and end the ledger's phases. What it draws once for all samples is the middle of what there is.

    ``over`` is told of the end of each backward pass.
    """

    def __init__(self, method: AskedMethod, ledger: Ledger, over: Callable[[], None]) -> None:
        super().__init__(method.method, method.name, method.roles)
        self.ledger = ledger
        self.over = over

    def losses(self, batch: Batch, draw: Draw) -> Iterator[StagedLoss]:
        """The same losses."""
        forward = self.ledger.turn("forward")
        for loss in super().losses(batch, middle(draw)):
            forward.name = f"{loss.name}: forward"
            self.ledger.turn(f"{loss.name}: backward")
            yield loss
            self.over()
            forward = self.ledger.turn(UPDATE)


class Stage:
    """A run, played step by step; of several ranks, as the first of them has it.

    ``ranks``: those that really are there; None plays the others of the subject's layout, of whom this one has ``heard`` what they need.

    Attributes:
        captions: the phase before any role was made, in which the run's captions were encoded.
        loading: the moment with the most memory before a role that was just loaded was spread.
    """

    def __init__(
        self,
        subject: Subject,
        rows: MadeUpRows,
        ledger: Ledger,
        *,
        hollow: bool,
        ranks: Ranks | None = None,
        heard: Sequence[Sequence[bool]] | None = None,
    ) -> None:
        self.subject = subject
        self.ledger = ledger
        self.ranks = PlayedRanks(subject.layout, heard) if ranks is None else ranks
        self.parts = PlayedParts(ledger, subject.layout.shard if ranks is None else 1)
        self.run = _from_its_folders(subject)
        # A parameter belongs to what encodes, until a role claims it.
        self._lent = register_module_parameter_registration_hook(self._lend)
        self.models = build_models(self.run, subject.placement)
        self.captions = ledger.turn("captions")
        encode_texts(self.run, self.models, self._prompts(), self._nowhere, writes=False)
        self.loading = Phase(LOADING)
        ledger.turn(LOADING)
        self.transfers = PlayedTransfers(ledger)
        builder = RoleBuilder(
            self.run,
            self.models,
            subject.placement,
            subject.latent_shape,
            _unheard,
            settle=self._settle if ranks is None else Settling(ranks),
            transfers=self.transfers,
            spread=self._spread if ranks is None and self.parts.shares > 1 else None,
        )
        self.roles = builder.build()
        if hollow:
            seen: dict[int, nn.Parameter] = {}
            for role in self.roles.values():
                for part in (role.container, *role.worn):
                    hollow_out(part, seen)
        for name, need in self.run.needs.items():
            if need.rewards:
                play_rewards(self.roles[name])
        self.method = build_method(self.run, self.roles)
        attach_optimizers(self.run.config, self.method, self.roles)
        for role in self.roles.values():
            self._own(role)
        self.state = TrainingState(self.roles, self._stream(rows), subject.latent_shape)
        self.trainer = self._trainer()

    @property
    def _nowhere(self) -> Path:
        """A folder that is not there, and never will be."""
        return Path(self.run.config.output_dir) / "planned"

    def _prompts(self) -> tuple[str, ...]:
        """One of those that the run samples; none if it does not."""
        validation = self.run.config.validation
        if validation.interval is None:
            return ()
        return ("a caption",) if validation.prompts is None else validation.prompts[:1]

    def _lend(self, _: nn.Module, __: str, parameter: Tensor | None) -> None:
        if parameter is not None:
            self.ledger.own(LENT, [parameter])

    def close(self) -> None:
        """Modules that are made from now on are none of its own."""
        self._lent.remove()

    def _spread(self, container: nn.ModuleDict, unread: Unread) -> None:
        """Modules that a run would read block by block, each spread before the next; others are spread when all of a role is there."""
        modules = list(container.values())
        if not all(block in unread for module in modules for block in blocks_of(module)):
            return
        for module in modules:
            self.parts.settle(module)
        self._note_loading(max(self.parts.coming(module) for module in modules))

    def _note_loading(self, coming: int = 0) -> None:
        """``coming``: bytes that are there besides."""
        if self.ledger.total + coming > self.loading.peak:
            self.loading = Phase(LOADING, peak=self.ledger.total + coming, owned=self.ledger.owned)

    def _settle(self, role: RoleHandle) -> None:
        """A role is loaded, and its weights are spread. What its library made before they had their dtype lay in host memory."""
        self._note_loading()
        role.peers = self.ranks.peers
        if self._in_parts(role):
            role.among = self.ranks
            for module in role.modules.values():
                self.parts.settle(module)

    def _in_parts(self, role: RoleHandle) -> bool:
        """Whether a role's weights are played in parts; a module of the method's own stays whole."""
        return self.parts.shares > 1 and OWN_MODULE not in role.container

    def _own(self, role: RoleHandle) -> None:
        """What a role holds from now on is its own, its gradients as they come too; modules that it shares are their users' together."""
        users = [other.name for other in self.roles.values() if other.container is role.container]
        shared: Owner = (" + ".join(users), "weights")
        self.ledger.own(shared, parts([*role.container.parameters(), *role.container.buffers()]))
        if users[0] == role.name and self._in_parts(role):
            for module in role.modules.values():
                self.parts.watch(module, shared[0])
        if role.offload is not None:
            self.transfers.claim(role.offload, shared)
        self.ledger.own((role.name, "weights"), [parameter for lora in role.worn for parameter in lora.parameters()])
        if role.optimizer is not None:
            state = role.optimizer.adamw.state
            moments = [tensor for each in state.values() for tensor in each.values()]
            self.ledger.own((role.name, "optimizer"), parts(moments))
            for parameter in role.optimizer.parameters.values():
                for tensor in state[parameter].values():
                    if tensor.shape == parameter.shape:
                        self.parts.shrink({parameter: tensor})
            for parameter in role.optimizer.parameters.values():
                parameter.register_post_accumulate_grad_hook(partial(self._own_gradient, role.name))
        if role.average is not None and role.average.place is None:
            shadow = role.average.shadow
            self.ledger.own((role.name, "average"), parts(shadow.values()))
            trained = role.trained_parameters()
            self.parts.shrink({trained[name]: tensor for name, tensor in shadow.items()})
        elif role.average is not None:
            self.ledger.forget(role.average.shadow.values())

    def _own_gradient(self, name: str, parameter: Tensor) -> None:
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is not None
        self.ledger.own((name, "gradients"), parts([parameter.grad]))
        self.parts.gradient_came(parameter)

    def _stream(self, rows: MadeUpRows) -> RowStream:
        training, shape = self.run.config.training, self.subject.latent_shape
        bucket = Bucket.of(shape, np.arange(len(rows)))
        return RowStream(
            rows,
            [bucket],
            seed=training.seed,
            batch_size=training.train_batch_size,
            rank=self.ranks.group_number,
            world_size=self.ranks.groups,
        )

    def _trainer(self) -> DistillTrainer:
        """The real one, which logs, saves and validates nothing here."""
        device, events, schedule = self.subject.placement.device, Events(None), schedule_of(self.run)
        adapters = {family: model.adapter for family, model in self.models.items()}
        space = self.run.facts[self.run.lead].latent_space
        trainer = DistillTrainer(
            replace(schedule, accumulation=min(FEW, schedule.accumulation)),
            PhasedMethod(self.method, self.ledger, self.parts.backward_is_over),
            self.state,
            Batches(adapters, space, device, self.run.demands.columns),
            device,
            start=0,
            validated=True,
            checkpoints=Checkpoints(self._nowhere, events, keep_last=1),
            tracker=Silence(),
            events=events,
            progress=Progress(quiet()),
            validator=None,
            stopping=Stopping(),
            ranks=self.ranks,
        )
        if isinstance(self.ranks, PlayedRanks):
            trainer.reduction = PlayedReduction(self.ranks, self.parts)
        return trainer

    def step(self, step: int) -> tuple[Phase, ...]:
        """Train a step."""
        begun = len(self.ledger.phases)
        self.ledger.turn("batch")
        self.trainer.train_step(step)
        self.ledger.turn("between two steps")
        return tuple(self.ledger.phases[begun:-1])

    def sampling(self) -> ValidationRequest | None:
        """What the run samples while it trains; None if it does not."""
        config = self.run.config
        request = self.method.validation(config.training.max_train_steps)
        if config.validation.interval is None or request is None:
            return None
        return completed(request, config.validation, self._prompts(), config.training.VSA_sparsity)

    def sample(self, request: ValidationRequest) -> tuple[tuple[Phase, ...], float]:
        """One video, in no more steps of a schedule than tell; and how many times as many steps it really takes."""
        begun, steps = len(self.ledger.phases), request.steps
        few = request if steps is None else replace(request, steps=min(steps, FEW))
        role, sampler = self.roles[request.role], self.models[self.roles[request.role].family].sampler
        self.ledger.turn("sampling")
        with role.averaged():
            next(iter(sampler.sample(role, few, self.subject.latent_shape)))
        self.ledger.turn("after sampling")
        return tuple(self.ledger.phases[begun:-1]), 1.0 if few.steps is None or steps is None else steps / few.steps

    def checkpoint(self) -> int:
        """Bytes of a checkpoint's tensors."""
        storages = {storage._cdata: storage.nbytes() for storage in map(storage_of, self.state.tensors().values())}
        return sum(storages.values())

    def snapshot(self) -> int:
        """Bytes of host memory that this rank's copy of it takes where a checkpoint is written while training goes on."""
        storages = {storage_of(each)._cdata: self.ledger.counted(each) for each in self.state.tensors().values()}
        return sum(storages.values())

    def parameters(self) -> Mapping[str, tuple[int, int]]:
        """How many parameters each role has, and how many of them are trained."""
        return {
            name: (
                sum(_meant(module) for part in (role.container, *role.worn) for module in part.modules()),
                sum(parameter.numel() for parameter in role.trained_parameters().values()) if role.trainable else 0,
            )
            for name, role in self.roles.items()
        }


def _meant(module: nn.Module) -> int:
    """The weights of a module's own, of which fewer bits may be held."""
    if isinstance(module, HeldByRule):
        return module.parameters_meant
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _from_its_folders(subject: Subject) -> ResolvedRun:
    """The run without what a role would take from another run's checkpoint: the shapes are those of its folder."""
    config = subject.run.config
    roles = {name: role.model_copy(update={"checkpoint": None}) for name, role in config.roles.items()}
    return replace(subject.run, config=config.model_copy(update={"roles": roles}))


def _unheard(_: str) -> None:
    """What a family says of its modules is the run's to tell."""
