"""The participants of a run: models, roles with their first weights, the method on them, and what trains each. Contains no algorithm."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

import torch
from torch import nn

from distill_core.config.blame import about
from distill_core.config.cadence import idleness
from distill_core.config.checks import family_of
from distill_core.config.document import dotted
from distill_core.config.recomputation import recomputation_of
from distill_core.config.resolve import ResolvedRun
from distill_core.config.role_checks import MIXED
from distill_core.config.schema import FirstStage, RunConfig
from distill_core.errors import ConfigError, MethodError, Problem
from distill_core.plugins.loading import CodeOf, load_target, make_target
from distill_core.plugins.specs import RoleNeed, RunSize
from distill_core.plugins.weightless import is_weightless
from distill_core.protocols.kernels import AttentionKernels
from distill_core.protocols.method import Method
from distill_core.protocols.model import ModelPlugin
from distill_core.randomness import key_bits
from distill_core.running.first_stage import take_weights
from distill_core.running.loras import fixed_loras, trained_lora
from distill_core.running.preparation import LatentShape, Placement
from distill_core.running.rewards import weighted_rewards
from distill_core.running.settling import Settle, Spread, left_alone
from distill_core.running.weights import Probe, Weights, source_of
from distill_core.training.asking import AskedMethod
from distill_core.training.averages import WeightAverage
from distill_core.training.declared import declared
from distill_core.training.kernels import Kernel
from distill_core.training.lora import LoraWeights
from distill_core.training.offload import Transfers
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.own_module import named
from distill_core.training.roles import OWN_MODULE, RoleHandle
from distill_core.training.transfers import transfers_to


def build_models(run: ResolvedRun, placement: Placement) -> dict[str, ModelPlugin]:
    """One model plugin per family; the first role of a family, in the method's order, lends it its text encoder and decoder."""
    models: dict[str, ModelPlugin] = {}
    for role, facts in run.facts.items():
        family = family_of(run.config, role)
        if family not in models:
            with about("roles", role, "path"):
                models[family] = make_target(
                    run.models[family].build,
                    f"model {family!r}",
                    facts,
                    run.model_options[family],
                    placement.device,
                    placement.compute,
                )
    return models


class RoleBuilder:
    """Makes every role of a run with its first weights; optimizers come with :func:`attach_optimizers`.

    ``tell`` is given what a family has to say of the modules that it loaded; ``probe`` shows what fewer bits cost; ``settle`` is given each
    role once its weights are there, ``spread`` modules of which each rank has a part before they are read; ``transfers`` moves weights that
    come and go.
    """

    def __init__(
        self,
        run: ResolvedRun,
        models: Mapping[str, ModelPlugin],
        placement: Placement,
        latent_shape: LatentShape,
        tell: Callable[[str], None],
        probe: Probe | None = None,
        settle: Settle = left_alone,
        transfers: Transfers | None = None,
        spread: Spread | None = None,
    ) -> None:
        self.settle = settle
        self.run = run
        self.models = models
        self.placement = placement
        self.latent_shape = latent_shape
        self.tell = tell
        moving = transfers_to(placement.device) if transfers is None else transfers
        self.weights = Weights(run, models, placement, tell, moving, probe, spread)

    def build(self, only: Collection[str] | None = None) -> dict[str, RoleHandle]:
        """The roles, or ``only`` some, in the method's order. Raises a DistillError for weights or a module that cannot be had."""
        roles = {name: self._role(name, need) for name, need in self.run.needs.items() if only is None or name in only}
        for role in roles.values():
            if role.follows is not None:
                role.follow(roles[role.follows], keep=0.0)
            if role.drawn_to in roles:
                refuse_unlike(role, roles[role.drawn_to])
        return roles

    def _role(self, name: str, need: RoleNeed) -> RoleHandle:
        source = source_of(self.run, name)
        family = family_of(self.run.config, source)
        model = need.is_model
        modules = self.weights.of(name) if model else self._own_module(name, need)
        role = RoleHandle(
            name,
            modules,
            self.models[family].adapter,
            trainable=need.trainable,
            family=family,
            latent_shape=self.latent_shape,
            follows=need.follows,
            drawn_to=need.drawn_to,
            lora=trained_lora(self.run, source, dict(modules.items())) if model else None,
            fixed=fixed_loras(self.run, source, dict(modules.items())) if model else (),
            recomputation=recomputation_of(self.run.config, name),
            offload=self.weights.offload_of(name) if model else None,
            kernel=kernel_of(self.run, name),
            guidance_passes=guidance_passes_of(self.run, name),
        )
        role.whole = role.whole and not need.rewards
        stage = self.run.config.roles[name].checkpoint
        if stage is not None:
            self._take_stage(role, stage)
        if role.lora is not None and need.trainable:
            self._tell_of_lora(role, role.lora)
        self.settle(role)
        if "unconditional" in need.operations and self.run.config.roles[name].guidance_passes is None:
            self._tell_of_guidance(role)
        return role

    def _tell_of_guidance(self, role: RoleHandle) -> None:
        """Both sides in one pass, where that was not asked for."""
        if role.guides_at_once and self.run.method.guidance(self.run.method_options).get(role.name) != 1.0:
            whence = "host memory" if role.offload is not None else "other processes"
            self.tell(
                f"both sides of the guidance of role {role.name!r} are predicted in one pass, as its weights come from {whence} for each "
                f"(roles.{role.name}.guidance_passes: 2 for two passes)"
            )

    def _take_stage(self, role: RoleHandle, stage: FirstStage) -> None:
        """A LoRA of another run; all weights of one have come with the modules."""
        with about("roles", role.name, "checkpoint"):
            found = self.weights.stage(stage)
            if found.lora:
                take_weights(role, found)
        self.tell(f"role {role.name!r} starts from role {found.role!r} of {found.checkpoint.path}")
        left = [] if role.lora is not None or found.lora else found.unplaced(role.container.state_dict())
        if left:
            self.tell(
                f"role {role.name!r} has no place for {len(left)} of its weights ({left[0]}{', …' if left[1:] else ''}), which are left "
                "out: it begins as another model than was trained, e.g. one without a second time"
            )

    def _tell_of_lora(self, role: RoleHandle, lora: LoraWeights) -> None:
        users = self.weights.users(role.name)
        shared = f", on frozen weights that it shares with {', '.join(users)}" if users else ", on frozen weights"
        ranks = sorted({size.rank for size in lora.sizes.values()})
        trained = sum(parameter.numel() for parameter in lora.parameters())
        size = f"of rank {', '.join(map(str, ranks))} on {len(lora.sizes)} layers: {trained:,} weights"
        self.tell(f"role {role.name!r} trains a LoRA {size}{shared}")

    def _own_module(self, name: str, need: RoleNeed) -> nn.ModuleDict:
        """The run's rewards; or a module of the method's own, its first weights drawn from a key. The global random state is left alone."""
        if need.module is None:
            with torch.random.fork_rng(devices=[]):
                return nn.ModuleDict({OWN_MODULE: weighted_rewards(self.run).to(self.placement.device)})
        size = (RunSize(self.latent_shape, self.run.config.training.train_batch_size),) if need.sized else ()
        owner = f"method {self.run.method.name!r}"
        make = load_target(need.module, f"role {name!r} of {owner}")
        with (
            torch.random.fork_rng(devices=[]),
            CodeOf(owner, f"making the module of role {name!r}", error=MethodError),
        ):
            torch.manual_seed(key_bits(self.run.config.training.seed, "role", name))
            module: nn.Module = make(self.run.facts, self.run.method_options, *size)
            return nn.ModuleDict({OWN_MODULE: named(name, module.to(self.placement.device))})


def guidance_passes_of(run: ResolvedRun, name: str) -> int | None:
    """Of a role, by ``roles.NAME.guidance_passes``; two of a family that cannot mix the two sides."""
    source, role = source_of(run, name), run.config.roles.get(name)
    if MIXED not in run.models[family_of(run.config, source)].operations:
        return 2
    return None if role is None else role.guidance_passes


def kernel_of(run: ResolvedRun, name: str) -> Kernel | None:
    """What a role's attention is computed by; None: as its family does."""
    chosen, family = run.config.roles[name].attention, family_of(run.config, name)
    if chosen is None or is_weightless():
        return None
    kernels: AttentionKernels = make_target(run.models[family].kernels, f"model {family!r}")
    return partial(kernels.attending, chosen)


def refuse_unlike(role: RoleHandle, leader: RoleHandle) -> None:
    """Raise ConfigError for a role that is drawn to one of other weights."""
    own, theirs = ({name: tensor.shape for name, tensor in each.own.state_dict().items()} for each in (role, leader))
    if own != theirs:
        message = (
            f"is drawn to the weights of role {leader.name!r} under the method's options, and has others: give both one architecture, and "
            "a LoRA of one form or none, or set the options otherwise"
        )
        raise ConfigError([Problem(f"roles.{role.name}", message)])


def build_method(run: ResolvedRun, roles: Mapping[str, RoleHandle]) -> AskedMethod:
    """The algorithm, on roles that answer what it declared."""
    owner, options = f"method {run.method.name!r}", run.method_options
    with about("recipe", "method"):
        method: Method = make_target(run.method.build, owner, declared(roles, run.needs), options, error=MethodError)
    return AskedMethod(method, run.method.name, roles)


def refuse_idle(config: RunConfig, method: AskedMethod) -> None:
    """Raise ConfigError for roles that the run would not train: found this late where the method's spec does not tell its cadence."""
    updates = method.updates(config.training.max_train_steps)
    found = list(idleness(method.roles_to_step, updates, method.trained, config))
    if found:
        raise ConfigError([Problem(dotted(key), message) for key, message in found])


def attach_optimizers(config: RunConfig, method: AskedMethod, roles: Mapping[str, RoleHandle]) -> None:
    """Give each trained role its optimizer, its schedule over its own updates, and its EMA."""
    for name, role in roles.items():
        if not role.trainable:
            continue
        parameters = role.trained_parameters()
        total = method.updates(config.training.max_train_steps)[name]
        role.optimizer = RoleOptimizer(parameters, config.optimization(name), total)
        ema = config.roles[name].ema
        if ema is not None:
            place = torch.device("cpu") if ema.placement == "cpu" else None
            role.average = WeightAverage(parameters, ema.decay, ema.start_step, place)


def go_on(config: RunConfig, method: AskedMethod, roles: Mapping[str, RoleHandle], start: int) -> None:
    """Let each schedule end with the run, though the cadence or the length may have changed since the checkpoint of ``start``."""
    steps = config.training.max_train_steps
    for name, role in roles.items():
        if role.optimizer is not None:
            role.optimizer.go_on(method.updates(steps)[name] - method.updates(min(start, steps))[name])
