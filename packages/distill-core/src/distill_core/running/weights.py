"""The weights that roles compute with: a trained role's are its own, frozen ones are loaded once for all roles of one folder.

A role that trains a LoRA leaves the weights under it alone, so it shares them like a frozen role. Contains no algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from distill_core.config.blame import about
from distill_core.config.checks import family_of
from distill_core.config.recomputation import recomputation_of
from distill_core.config.resolve import ResolvedRun
from distill_core.config.schema import LIBRARIES, FirstStage
from distill_core.errors import ConfigError, Problem
from distill_core.plugins.specs import RoleNeed
from distill_core.plugins.weightless import is_weightless
from distill_core.protocols.model import Later, ModelPlugin, ModelRequest
from distill_core.running.first_stage import FoundStage, StageInTurn, find_stage
from distill_core.running.preparation import Placement
from distill_core.running.settling import Spread
from distill_core.training.answered import loaded_modules
from distill_core.training.compiled import compile_blocks
from distill_core.training.offload import Offload, Transfers
from distill_core.training.quantized import held_tensors, hold, layers_of
from distill_core.training.unread import Unread

Probe = Callable[[str, nn.ModuleDict], Tensor]
"""A family's prediction of a few rows by modules, always the same ones."""
Placed = Literal["device", "cpu", "stream"]
HELD = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""The dtypes that ``roles.NAME.weights`` names."""


@dataclass(frozen=True)
class SharedWeights:
    """A set of frozen weights, by all that tells it from another.

    Attributes:
        family: the model family.
        path: the folder.
        held: the dtype that they are held in.
        stage: the checkpoint of all weights that they were replaced by, or None.
        fewer: the kind of weights in fewer bits that they are held in, or None.
        placement: where they live.
    """

    family: str
    path: str
    held: torch.dtype
    stage: FirstStage | None = None
    fewer: str | None = None
    placement: Placed = "device"


class Weights:
    """Loads what the roles of a run compute with.

    Attributes:
        shared: the frozen sets, as far as they are loaded, each in one container.
    """

    def __init__(
        self,
        run: ResolvedRun,
        models: Mapping[str, ModelPlugin],
        placement: Placement,
        tell: Callable[[str], None],
        transfers: Transfers,
        probe: Probe | None = None,
        spread: Spread | None = None,
    ) -> None:
        self.run = run
        self.models = models
        self.placement = placement
        self.tell = tell
        self.transfers = transfers
        self.probe = probe
        self.spread = spread
        self.shared: dict[SharedWeights, nn.ModuleDict] = {}
        self._offloads: dict[SharedWeights, Offload] = {}
        self._found: dict[FirstStage, FoundStage] = {}
        self._keys = {name: shared_weights(run, name, placement.compute) for name in run.needs}

    def of(self, name: str) -> nn.ModuleDict:
        """The modules of a role that is a model, or follows one. Raises a DistillError for weights that cannot be had."""
        key = self._keys[name]
        if key is None:
            return self._own(name)
        if key not in self.shared:
            users = tuple(other for other, theirs in self._keys.items() if theirs == key)
            hosted = key.placement != "device"
            unread = Unread()
            in_turn = self.spread is not None and key.fewer is None and not hosted
            later = unread.add if in_turn or key.fewer is not None else None
            container = nn.ModuleDict(self._loaded(users, key.held, exact=False, on_host=hosted, later=later))
            if key.stage is not None:
                self._take(container, key.stage, users[0], unread)
            if key.fewer is not None:
                self._shrink(container, key, key.fewer, users, unread)
            elif self.spread is not None and in_turn:
                self.spread(container, unread)
            self._compile(container, users)
            if hosted:
                self._offloads[key] = self._offload(container, key, users)
            self.shared[key] = container
        return self.shared[key]

    def _own(self, name: str) -> nn.ModuleDict:
        """Modules that are one role's alone, from its folder or another run's checkpoint of all weights."""
        unread, stage = Unread(), self.run.config.roles[name].checkpoint
        later = None if self.spread is None else unread.add
        own = nn.ModuleDict(self._loaded((name,), torch.float32, exact=True, later=later))
        if stage is not None and self.run.needs[name].trainable:
            self._take(own, stage, name, unread)
        if self.spread is not None:
            self.spread(own, unread)
        self._compile(own, (name,))
        return own

    def stage(self, stage: FirstStage) -> FoundStage:
        """A checkpoint that a role starts from; all that will be read of it is looked at once."""
        if stage not in self._found:
            self._found[stage] = find_stage(stage)
        return self._found[stage]

    def _take(self, container: nn.ModuleDict, stage: FirstStage, user: str, unread: Unread) -> None:
        """Replace all weights by a checkpoint's: those that are there now, and every other when it is read. A LoRA's are not all."""
        with about("roles", user, "checkpoint"):
            found = self.stage(stage)
            if not found.lora:
                in_turn = StageInTurn(container, found)
                in_turn.take(container)
                unread.replace = in_turn.take

    def offload_of(self, name: str) -> Offload | None:
        """What has a role's weights come and go, once they are loaded; None where they stay on the device."""
        key = self._keys[name]
        return None if key is None else self._offloads.get(key)

    def _offload(self, container: nn.ModuleDict, key: SharedWeights, users: tuple[str, ...]) -> Offload:
        """Let weights live in host memory, and say so."""
        modules = dict(container.items())
        offload = Offload(modules, self.transfers, streamed=key.placement == "stream")
        units = list(offload.units)
        if not units:
            fault = "this model has no blocks that could come one by one; choose cpu"
            raise ConfigError([Problem(f"roles.{users[0]}.placement", fault)])
        size = sum(tensor.numel() * tensor.element_size() for tensor in offload.hosted().values())
        come = f"{len(units)} blocks, one by one," if key.placement == "stream" else "they"
        self.tell(
            f"the weights of {', '.join(users)} live in host memory, {size:,} bytes; {come} come to the device for their use"
        )
        container.to(self.placement.device)
        return offload

    def _shrink(
        self, container: nn.ModuleDict, key: SharedWeights, kind: str, users: tuple[str, ...], unread: Unread
    ) -> None:
        """Hold the layers in fewer bits, and say what that costs a prediction."""
        probe, held = self.probe, byte_count(container)
        kept = self.run.models[key.family].lora.fresh
        layers = {module: layers_of(module, kind, kept) for module in container.values()}
        count = sum(len(names) for names in layers.values())
        with unread.read_in_turn(layers, kind, self.placement.device):
            before = None if probe is None else probe(key.family, container)
        for module, names in layers.items():
            hold(module, kind, (name for name in names if name not in unread.held[module]))
        if not count:
            fault = f"no layer of this model's blocks can be held in {kind}; leave this out"
            raise ConfigError([Problem(f"roles.{users[0]}.weights", fault)])
        said = f"the weights of {', '.join(users)} are held in {kind}: {count} layers, {byte_count(container):,} bytes instead of {held:,}"
        if probe is not None and before is not None:
            error = (probe(key.family, container) - before).norm() / before.norm()
            said += f"; their predictions of the first rows differ by {float(error):.2%}"
        self.tell(said)

    def users(self, name: str) -> tuple[str, ...]:
        """The other roles that compute with the same weights as a role, in the method's order."""
        key = self._keys[name]
        return tuple(
            other for other, theirs in self._keys.items() if key is not None and theirs == key and other != name
        )

    def _loaded(
        self,
        users: tuple[str, ...],
        held: torch.dtype,
        *,
        exact: bool,
        on_host: bool = False,
        later: Later | None = None,
    ) -> Mapping[str, nn.Module]:
        """Modules that can be asked for whatever one of the roles will be asked for."""
        sources = [source_of(self.run, name) for name in users]
        first, needs = sources[0], self.run.needs
        settings = self.run.config.roles[first]
        request = ModelRequest(
            facts=self.run.facts[first],
            trainable=exact and needs[users[0]].trainable,
            weights_dtype=HELD.get(settings.weights, held),
            gradient_checkpointing=any(recomputation_of(self.run.config, name) is not None for name in users),
            attention=tuple(
                dict.fromkeys(kind for source in sources for kind in self.run.demands.attention_of(source))
            ),
            # A follower takes its leader's weights over, so it has the layers that the leader was loaded with.
            operations=frozenset().union(*(needs[name].operations for name in (*users, *sources))),
            tell=self.tell,
            on_host=on_host,
            later=later,
            shared=self.run.config.distributed.context > 1,
        )
        with about("roles", first, "path"):
            family = family_of(self.run.config, first)
            return loaded_modules(family, self.models[family], request)

    def _compile(self, modules: nn.ModuleDict, users: tuple[str, ...]) -> None:
        """Let the blocks be compiled where a role asks for it, and say so."""
        if is_weightless() or not any(self.run.config.compiles(name) for name in users):
            return
        count = compile_blocks(modules.values())
        if not count:
            fault = "this model has no blocks that could be compiled; leave this out"
            raise ConfigError([Problem(f"roles.{users[0]}.compile", fault)])
        self.tell(f"the {count} blocks of {', '.join(users)} are compiled at their first calls, which takes a while")


def source_of(run: ResolvedRun, name: str) -> str:
    """The role whose folder says what this one is: itself, the role that it follows, or the run's first for a module of no family."""
    need: RoleNeed = run.needs[name]
    if not need.is_model:
        return run.lead
    return name if need.follows is None else need.follows


def shared_weights(run: ResolvedRun, name: str, compute: torch.dtype) -> SharedWeights | None:
    """The frozen weights that a role computes with; None for one whose weights are all its own."""
    need, source = run.needs[name], source_of(run, name)
    settings = run.config.roles[source]
    if not need.is_model or settings.path is None:
        return None
    if settings.lora is None and (need.trainable or need.follows is not None):
        return None
    stage = settings.checkpoint
    if stage is not None and find_stage(stage).lora:
        stage = None
    fewer = settings.weights if settings.weights in LIBRARIES else None
    held = HELD.get(settings.weights, compute)
    return SharedWeights(family_of(run.config, source), settings.path, held, stage, fewer, settings.placement)


def byte_count(module: nn.Module) -> int:
    """The bytes of a module's weights and buffers, as they are held."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(part.numel() * part.element_size() for tensor in tensors for part in held_tensors(tensor.data))
