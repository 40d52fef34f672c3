"""A run of a method on toy roles, by the real trainer: made as often as it is asked for, put into any state that a checkpoint holds.

Each role of the kit is of a family of its own, so that a condition that was made for another role is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from distill_core.checkpoint import Checkpoints
from distill_core.config.schema import Optimization
from distill_core.data.reading.order import Bucket
from distill_core.data.reading.stream import RowStream
from distill_core.errors import PluginError
from distill_core.plugins.answers import demands_of
from distill_core.plugins.loading import load_target
from distill_core.plugins.specs import Demands, MethodSpec, ModelFacts, Options, RoleNeed, RunSize
from distill_core.protocols.batch import Batch
from distill_core.protocols.condition import Condition, Prompt
from distill_core.protocols.data import Row
from distill_core.protocols.method import Method
from distill_core.protocols.model import ModelRequest
from distill_core.protocols.prediction import Ask, Prediction
from distill_core.randomness import key_bits
from distill_core.stopping import Stopping
from distill_core.testing.findings import Findings
from distill_core.testing.methods.kit_rows import ROWS, KitRows
from distill_core.testing.methods.watched_method import WatchedMethod
from distill_core.testing.methods.watched_role import watched
from distill_core.testing.toy import ToyAdapter, ToyModel, ToyText
from distill_core.testing.toy_parts import CPU, LATENT_SHAPE
from distill_core.testing.toy_rewards import toy_rewards
from distill_core.testing.toy_spec import ToyOptions, inspect, write_toy_model
from distill_core.tracking.events import Events
from distill_core.tracking.progress import Progress
from distill_core.tracking.silence import Silence
from distill_core.training.batches import Batches
from distill_core.training.draws import KeyedDraw
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.roles import OWN_MODULE, RoleHandle
from distill_core.training.schedule import Schedule
from distill_core.training.state import TrainingState
from distill_core.training.trainer import DistillTrainer

BATCH = 3
SEED = 0
FAST = Optimization(learning_rate=1e-2)
"""Steps that are seen in float32 at once."""
DROPOUT = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
"""Layers that rest in the kit: their masks come from the global stream, which the trainer seeds, and are drawn by the batch."""


@dataclass(frozen=True)
class FamilyText(ToyText):
    """Captions as one role's family takes them."""

    family: str = ""

    def select(self, rows: Tensor) -> FamilyText:
        """The captions at ``rows``."""
        return FamilyText(self.mean_BD[rows], self.family)


class FamilyAdapter(ToyAdapter):
    """The toy's operations, with conditions that only this family takes."""

    def __init__(self, facts: ModelFacts, family: str, extensions: Mapping[str, Callable[..., object]]) -> None:
        super().__init__(facts, ToyOptions(), CPU)
        self.family = family
        self.extensions = extensions

    def extension(self, name: str) -> Callable[..., object]:
        """A stand-in for an operation of a family's own. Raises PluginError where none is given."""
        if name not in self.extensions:
            raise PluginError(
                f"toy models have no {name!r}; give check_method a stand-in: extensions={{{name!r}: ...}}"
            )
        return self.extensions[name]

    def prepare_condition(self, rows: Sequence[Row]) -> FamilyText:
        """The rows' captions as they are stored."""
        return FamilyText(super().prepare_condition(rows).mean_BD, self.family)

    def encode_condition(self, prompts: Sequence[Prompt]) -> FamilyText:
        """Captions as numbers."""
        return FamilyText(super().encode_condition(prompts).mean_BD, self.family)

    def unconditional(self, condition: Condition) -> FamilyText:
        """Zeros."""
        return FamilyText(super().unconditional(self._own(condition)).mean_BD, self.family)

    def unconditional_where(self, condition: Condition, mask_B: Tensor) -> FamilyText:
        """Zeros where asked for."""
        return self.drop_condition(condition, mask_B)

    def drop_condition(self, condition: Condition, dropped_B: Tensor) -> FamilyText:
        """Zeros where dropped."""
        return FamilyText(super().drop_condition(self._own(condition), dropped_B).mean_BD, self.family)

    def predict(
        self, modules: Mapping[str, nn.Module], noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """v and whatever else is asked for. Raises PluginError for a condition of another family, or of another batch."""
        own = self._own(condition)
        if not len(own) == len(noisy_BTCHW) == len(timestep):
            raise PluginError(
                f"a prediction of {self.family!r} is asked with {len(noisy_BTCHW)} samples, {len(timestep)} timesteps and "
                f"{len(own)} conditions; give as many of each"
            )
        return super().predict(modules, noisy_BTCHW, timestep, own, ask)

    def _own(self, condition: Condition) -> FamilyText:
        if not isinstance(condition, FamilyText) or condition.family != self.family:
            whose = f"that of role {condition.family!r}" if isinstance(condition, FamilyText) else "none of the batch's"
            raise PluginError(
                f"role {self.family!r} is asked with a condition that is {whose}; roles may be of other families: "
                "pass batch.condition_of(role) of the same role"
            )
        return condition


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds: tensors by name, and numbers."""

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]


class Bench:
    """Makes runs of one method under given options. ``folder`` holds the toy models and must outlive the runs."""

    def __init__(
        self,
        spec: MethodSpec,
        options: Options,
        folder: Path,
        findings: Findings,
        needs: Mapping[str, RoleNeed],
        steps: int,
        extensions: Mapping[str, Callable[..., object]],
    ) -> None:
        self.spec = spec
        self.extensions = extensions
        self.options = options
        self.findings = findings
        self.demands: Demands = demands_of(spec, options)
        self.needs = needs
        self.steps = steps
        self.rows = KitRows(latents=self.demands.latents, columns=self.demands.columns)
        self.facts = {
            name: inspect(str(write_toy_model(folder / name, seed=seed)))
            for seed, (name, need) in enumerate(needs.items())
            if not need.sourceless
        }
        self.lead = next(iter(self.facts))

    def family_of(self, name: str) -> str:
        """The role whose folder says what a role is."""
        need = self.needs[name]
        return self.lead if not need.is_model else need.follows or name

    def own_module(self, name: str, seed: int = SEED) -> nn.Module:
        """A module of the method's own, its first weights drawn as a run draws them."""
        with torch.random.fork_rng(devices=[]):
            return self._made(name, seed)

    def stream_after(self, name: str, seed: int) -> bytes:
        """Where torch's global stream stands once such a module is made."""
        with torch.random.fork_rng(devices=[]):
            self._made(name, seed)
            return torch.get_rng_state().numpy().tobytes()

    def _made(self, name: str, seed: int) -> nn.Module:
        target = self.needs[name].module
        assert target is not None
        size = (RunSize(LATENT_SHAPE, BATCH),) if self.needs[name].sized else ()
        torch.manual_seed(key_bits(seed, "role", name))
        module: nn.Module = load_target(target)(self.facts, self.options, *size)
        return module

    def roles(self) -> dict[str, RoleHandle]:
        """The roles with their first weights."""
        adapters = {name: FamilyAdapter(facts, name, self.extensions) for name, facts in self.facts.items()}
        roles: dict[str, RoleHandle] = {}
        for name, need in self.needs.items():
            family = self.family_of(name)
            if not need.is_model:
                own = toy_rewards() if need.rewards else self.own_module(name)
                modules: Mapping[str, nn.Module] = {OWN_MODULE: own}
            else:
                model = ToyModel(self.facts[family], ToyOptions(), CPU, torch.float32)
                modules = model.load_modules(ModelRequest(self.facts[family], need.trainable, torch.float32))
            roles[name] = RoleHandle(
                name,
                modules,
                adapters[family],
                trainable=need.trainable,
                family=family,
                latent_shape=LATENT_SHAPE,
                follows=need.follows,
                drawn_to=need.drawn_to,
            )
            for module in roles[name].container.modules():
                if isinstance(module, DROPOUT):
                    module.eval()
        for role in roles.values():
            if role.follows is not None:
                role.follow(roles[role.follows], keep=0.0)
        return roles

    def method(self, roles: Mapping[str, RoleHandle]) -> Method:
        """The method on roles that watch it."""
        made: Method = load_target(self.spec.build)(watched(roles, self.needs, self.demands), self.options)
        return made

    def run(self, *, accumulation: int = 1, step_roles: Literal["together", "alone"] = "together") -> ToyRun:
        """A run that has not begun."""
        return ToyRun(self, accumulation, step_roles)


class ToyRun:
    """One run of a bench's method.

    Attributes:
        roles: the participants.
        method: the algorithm, watched.
        trainer: the real one, which logs, saves and validates nothing here.
    """

    def __init__(self, bench: Bench, accumulation: int, step_roles: Literal["together", "alone"]) -> None:
        self.bench = bench
        self.roles = bench.roles()
        self.method = WatchedMethod(bench.method(self.roles), bench.spec.name, self.roles, bench.findings)
        for role in self.roles.values():
            if role.trainable:
                role.optimizer = RoleOptimizer(role.trained_parameters(), FAST, bench.steps)
        bucket = Bucket.of(LATENT_SHAPE, np.arange(ROWS))
        stream = RowStream(bench.rows, [bucket], seed=SEED, batch_size=BATCH)
        self.state = TrainingState(self.roles, stream, LATENT_SHAPE)
        adapters = {role.family: role.adapter for role in self.roles.values()}
        lead = bench.facts[bench.lead]
        self.batches = Batches(
            {bench.lead: adapters[bench.lead], **adapters}, lead.latent_space, CPU, bench.demands.columns
        )
        events = Events(None)
        self.trainer = DistillTrainer(
            Schedule(bench.steps, accumulation, SEED, bench.steps, None, None, False, step_roles=step_roles),
            self.method,
            self.state,
            self.batches,
            CPU,
            start=0,
            validated=True,
            checkpoints=Checkpoints(lead.path / "none", events, keep_last=1),
            tracker=Silence(),
            events=events,
            progress=Progress(Console(quiet=True)),
            validator=None,
            stopping=Stopping(),
        )

    def snapshot(self) -> Snapshot:
        """What a checkpoint of this moment holds."""
        tensors = {name: tensor.detach().clone() for name, tensor in self.state.tensors().items()}
        return Snapshot(tensors, self.state.numbers())

    @torch.no_grad()
    def load(self, snapshot: Snapshot) -> None:
        """Take over what a checkpoint holds, and nothing else."""
        for name, tensor in self.state.tensors().items():
            tensor.copy_(snapshot.tensors[name])
        self.state.load_numbers(snapshot.numbers)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The rows of these numbers as a batch."""
        return self.batches.prepare([self.bench.rows[index] for index in rows], LATENT_SHAPE)

    def draw(self, step: int, rows: Sequence[int]) -> KeyedDraw:
        """The randomness of the first micro-step of ``step`` for samples of these keys."""
        return KeyedDraw(SEED, step, 0, tuple(rows), CPU)

    def unsaved(self) -> dict[str, Tensor]:
        """Weights and buffers that no checkpoint holds, by role and name; the run's own, not copies."""
        found: dict[str, Tensor] = {}
        for name, role in self.roles.items():
            saved = role.state_tensors()
            everything = {**dict(role.container.named_parameters()), **dict(role.container.named_buffers())}
            found |= {f"{name}: {key}": tensor for key, tensor in everything.items() if key not in saved}
        return found
