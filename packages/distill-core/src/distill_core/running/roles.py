"""The participants of a run: models, roles with their first weights, the method on them, and what trains each. Contains no algorithm."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from distill_core.config.blame import about
from distill_core.config.cadence import idleness, updates_of
from distill_core.config.checks import family_of
from distill_core.config.document import dotted
from distill_core.config.resolve import ResolvedRun
from distill_core.config.schema import RunConfig
from distill_core.errors import ConfigError, DistillError, MethodError, Problem
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.loading import load_target
from distill_core.plugins.specs import RoleNeed
from distill_core.protocols.method import Method
from distill_core.protocols.model import ModelPlugin, ModelRequest
from distill_core.randomness import key_bits
from distill_core.running.first_stage import find_stage, take_weights
from distill_core.running.preparation import LatentShape, Placement
from distill_core.training.asking import AskedMethod
from distill_core.training.averages import WeightAverage
from distill_core.training.declared import declared
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.roles import OWN_MODULE, RoleHandle


def build_models(run: ResolvedRun, placement: Placement) -> dict[str, ModelPlugin]:
    """One model plugin per family; the first role of a family, in the method's order, lends it its text encoder and decoder."""
    models: dict[str, ModelPlugin] = {}
    for role, facts in run.facts.items():
        family = family_of(run.config, role)
        if family not in models:
            with about("roles", role, "path"):
                build = load_target(run.models[family].build, f"model {family!r}")
                models[family] = build(facts, run.model_options[family], placement.device, placement.compute)
    return models


class RoleBuilder:
    """Makes every role of a run with its first weights; optimizers come with :func:`attach_optimizers`.

    ``tell`` is given what a family has to say of the modules that it loaded.
    """

    def __init__(
        self,
        run: ResolvedRun,
        models: Mapping[str, ModelPlugin],
        placement: Placement,
        latent_shape: LatentShape,
        tell: Callable[[str], None],
    ) -> None:
        self.run = run
        self.models = models
        self.placement = placement
        self.latent_shape = latent_shape
        self.tell = tell

    def build(self, only: Collection[str] | None = None) -> dict[str, RoleHandle]:
        """The roles, or ``only`` some, in the method's order. Raises a DistillError for weights or a module that cannot be had."""
        roles = {name: self._role(name, need) for name, need in self.run.needs.items() if only is None or name in only}
        for role in roles.values():
            if role.follows is not None:
                role.follow(roles[role.follows], keep=0.0)
        return roles

    def _role(self, name: str, need: RoleNeed) -> RoleHandle:
        family = family_of(self.run.config, self._source(name, need))
        modules = self._own_module(name, need.module) if need.module is not None else self._model(name, need, family)
        role = RoleHandle(
            name,
            modules,
            self.models[family].adapter,
            trainable=need.trainable,
            family=family,
            latent_shape=self.latent_shape,
            follows=need.follows,
        )
        stage = self.run.config.roles[name].checkpoint
        if stage is not None:
            with about("roles", name, "checkpoint"):
                found = find_stage(stage)
                take_weights(role, found)
            self.tell(f"role {name!r} starts from role {found.role!r} of {found.checkpoint.path}")
        return role

    def _source(self, name: str, need: RoleNeed) -> str:
        """The role whose folder says what this one is: itself, the role that it follows, or the run's first for a module of no family."""
        if need.module is not None:
            return self.run.lead
        return name if need.follows is None else need.follows

    def _own_module(self, name: str, target: str) -> dict[str, nn.Module]:
        """A module of the method's own, its first weights drawn from a key; the global random state is left alone."""
        make = load_target(target, f"role {name!r} of method {self.run.method.name!r}")
        with torch.random.fork_rng(devices=[]), own_module_border(self.run.method.name, name):
            torch.manual_seed(key_bits(self.run.config.training.seed, "role", name))
            module: nn.Module = make(self.run.facts, self.run.method_options)
            return {OWN_MODULE: module.to(self.placement.device)}

    def _model(self, name: str, need: RoleNeed, family: str) -> Mapping[str, nn.Module]:
        settings, training = self.run.config.roles[name], self.run.config.training
        held = {"fp32": torch.float32, "bf16": torch.bfloat16}
        exact = need.trainable or need.follows is not None
        source = self._source(name, need)
        request = ModelRequest(
            facts=self.run.facts[source],
            trainable=need.trainable,
            weights_dtype=held.get(settings.weights, torch.float32 if exact else self.placement.compute),
            gradient_checkpointing=training.enable_gradient_checkpointing_type == "full",
            attention=self.run.demands.attention_of(source),
            # A follower takes its leader's weights over, so it has the layers that the leader was loaded with.
            operations=need.operations | self.run.needs[source].operations,
            tell=self.tell,
        )
        with about("roles", source, "path"):
            return self.models[family].load_modules(request)


@contextmanager
def own_module_border(method: str, role: str) -> Iterator[None]:
    """What a factory of a method's own module raises is a MethodError that names both."""
    try:
        with plugin_border(f"method {method!r}: making the module of role {role!r}"):
            yield
    except RefusedError as refusal:
        if isinstance(refusal.__cause__, DistillError):
            raise refusal.__cause__ from None
        raise MethodError(refusal.reason) from refusal


def build_method(run: ResolvedRun, roles: Mapping[str, RoleHandle]) -> AskedMethod:
    """The algorithm, on roles that answer what it declared."""
    with about("recipe", "method"):
        make = load_target(run.method.build, f"method {run.method.name!r}")
        method: Method = make(declared(roles, run.needs), run.method_options)
    return AskedMethod(method, run.method.name, roles)


def refuse_idle(config: RunConfig, method: Method, roles: Mapping[str, RoleHandle]) -> None:
    """Raise ConfigError for roles that the run would not train: found this late where the method's spec does not tell its cadence."""
    trained = [name for name, role in roles.items() if role.trainable]
    found = [fault for name in trained if (fault := idleness(method.roles_to_step, name, config)) is not None]
    if found:
        raise ConfigError([Problem(dotted(key), message) for key, message in found])


def attach_optimizers(config: RunConfig, method: Method, roles: Mapping[str, RoleHandle]) -> None:
    """Give each trained role its optimizer, its schedule over its own updates, and its EMA."""
    for name, role in roles.items():
        if not role.trainable:
            continue
        parameters = role.trained_parameters()
        total = updates_of(method.roles_to_step, name, config.training.max_train_steps)
        role.optimizer = RoleOptimizer(parameters, config.optimization(name), total)
        ema = config.roles[name].ema
        if ema is not None:
            role.average = WeightAverage(parameters, ema.decay, ema.start_step)


def go_on(config: RunConfig, method: Method, roles: Mapping[str, RoleHandle], start: int) -> None:
    """Let each schedule end with the run, though the cadence or the length may have changed since the checkpoint of ``start``."""
    steps = config.training.max_train_steps
    for name, role in roles.items():
        if role.optimizer is not None:
            cadence = method.roles_to_step
            role.optimizer.go_on(updates_of(cadence, name, steps) - updates_of(cadence, name, min(start, steps)))
