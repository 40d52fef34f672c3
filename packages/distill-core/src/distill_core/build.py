"""From a resolved run to a trainer: the one place where models, roles, data, method and trackers meet. It contains no algorithm."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from distill_core.checkpoint import Checkpoints, TrainingState
from distill_core.comparison import Comparer
from distill_core.config.checks import family_of
from distill_core.config.resolve import ResolvedRun
from distill_core.config.schema import RunConfig
from distill_core.data.bad_rows import BadRow, Quarantine
from distill_core.data.mixture import Mixture, open_mixture
from distill_core.data.plan import DataPlan, plan_data
from distill_core.data.stream import RowStream
from distill_core.ema import WeightAverage
from distill_core.errors import ConfigError, Problem
from distill_core.events import Events
from distill_core.measures import Measures
from distill_core.optimization import RoleOptimizer
from distill_core.plugins.loading import load_target
from distill_core.progress import Progress
from distill_core.protocols.method import Method
from distill_core.protocols.model import ModelPlugin, ModelRequest
from distill_core.protocols.trainer import Trainer
from distill_core.redaction import redact_mapping
from distill_core.roles import RoleHandle
from distill_core.run_directory import RunDirectory
from distill_core.tracking import Trackers, open_trackers
from distill_core.trainer import DistillTrainer, Schedule
from distill_core.validation import VideoValidator

LatentShape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Placement:
    """Where a run computes, and in what.

    Attributes:
        device: the device of all roles.
        compute: the dtype of a forward pass.
    """

    device: torch.device
    compute: torch.dtype

    def described(self) -> dict[str, str]:
        """For environment.json."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return {"device": name, "compute_dtype": str(self.compute).removeprefix("torch.")}


def place(device: str, precision: str) -> Placement:
    """Resolve ``training.device`` and ``training.precision``. Raises ConfigError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            [Problem("training.device", "this machine has no CUDA device; set training.device to auto or cpu")]
        )
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    half = precision == "bf16" or (precision == "auto" and chosen == "cuda")
    return Placement(torch.device(chosen), torch.bfloat16 if half else torch.float32)


def refuse_several_processes() -> None:
    """Raise ConfigError under torchrun with more than one process: each would train, and write, by itself."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1:
        message = f"this is one of {world_size} processes, and several processes are not supported yet; run one"
        raise ConfigError([Problem("distributed.strategy", message)])


@dataclass(frozen=True)
class Prepared:
    """A run of which everything is known but the weights: what can be refused has been, and nothing is written or loaded yet.

    Attributes:
        run: the configuration, the plugins and the models' folders.
        placement: where it computes.
        dataset: its data.
        plan: the rows that it trains on, by shape.
        measures: the metrics; they can measure the run's prompts at its size.
    """

    run: ResolvedRun
    placement: Placement
    dataset: Mixture
    plan: DataPlan
    measures: Measures

    @property
    def latent_shape(self) -> LatentShape:
        """[T, C, H, W] that the run samples at: that of the most training samples."""
        return self.plan.latent_shape


def prepare(run: ResolvedRun) -> Prepared:
    """Check processes, device and data against the run. Raises ConfigError and DataError."""
    refuse_several_processes()
    placement = place(run.config.training.device, run.config.training.precision)
    refuse_narrow_weights(run.config, placement.compute)
    if run.config.training.cpu_threads is not None:
        torch.set_num_threads(run.config.training.cpu_threads)
    dataset = open_mixture(run.config.data, latents=run.demands.latents)
    plan = plan_data(dataset, run.facts.values(), run.config.data)
    measures = Measures.of(run.metrics, run.metric_options)
    prompts = (*validation_prompts(run.config, dataset), *comparison_prompts(run.config, dataset))
    measures.check(prompts, run.facts[run.lead].latent_space.pixels(plan.latent_shape))
    return Prepared(run, placement, dataset, plan, measures)


def build_models(run: ResolvedRun, placement: Placement) -> dict[str, ModelPlugin]:
    """One model plugin per family; the first role of a family, in the method's order, lends it its text encoder and decoder."""
    models: dict[str, ModelPlugin] = {}
    for role, facts in run.facts.items():
        family = family_of(run.config, role)
        if family not in models:
            build = load_target(run.models[family].build, f"model {family!r}")
            models[family] = build(facts, run.model_options[family], placement.device, placement.compute)
    return models


def build_roles(run: ResolvedRun, models: Mapping[str, ModelPlugin], placement: Placement) -> dict[str, RoleHandle]:
    """Every role with its weights, frozen or trainable; optimizers come with :func:`attach_optimizers`."""
    checkpointing = run.config.training.enable_gradient_checkpointing_type == "full"
    roles: dict[str, RoleHandle] = {}
    for name, facts in run.facts.items():
        settings = run.config.roles[name]
        model = models[family_of(run.config, name)]
        held = {"fp32": torch.float32, "bf16": torch.bfloat16}
        automatic = torch.float32 if settings.trainable else placement.compute
        request = ModelRequest(
            facts=facts,
            trainable=settings.trainable,
            weights_dtype=held.get(settings.weights, automatic),
            gradient_checkpointing=checkpointing and settings.trainable,
        )
        roles[name] = RoleHandle(name, model.load_modules(request), model.adapter, trainable=settings.trainable)
    return roles


def updates_of(method: Method, role: str, max_steps: int) -> int:
    """How often a role steps in a run: the length of its learning-rate schedule."""
    return sum(role in method.roles_to_step(step) for step in range(1, max_steps + 1))


def refuse_idle(role: str, updates: int, config: RunConfig) -> None:
    """Raise ConfigError for a role that the run would never step, or never past its warm-up."""
    steps, warmup = config.training.max_train_steps, config.optimization(role).lr_warmup_steps
    if updates == 0:
        message = (
            f"{steps} steps are too few: role {role!r} is never stepped in them; train longer, or step it more often"
        )
        raise ConfigError([Problem("training.max_train_steps", message)])
    if warmup >= updates:
        own = config.roles[role].lr_warmup_steps is not None
        key = f"roles.{role}.lr_warmup_steps" if own else "training.lr_warmup_steps"
        message = f"role {role!r} makes {updates} updates in {steps} steps and would end in its warm-up; set it below {updates}"
        raise ConfigError([Problem(key, message)])


def refuse_narrow_weights(config: RunConfig, compute: torch.dtype) -> None:
    """Raise ConfigError for roles whose weights are to be held in less than a forward pass computes in."""
    narrow = [name for name, role in config.roles.items() if role.weights == "bf16" and compute is torch.float32]
    message = "weights in bf16 do not fit forward passes in fp32; set training.precision: bf16, or leave this out"
    if narrow:
        raise ConfigError([Problem(f"roles.{name}.weights", message) for name in narrow])


def attach_optimizers(config: RunConfig, method: Method, roles: Mapping[str, RoleHandle]) -> None:
    """Give each trained role its optimizer, its schedule over its own updates, and its EMA."""
    for name, role in roles.items():
        if not role.trainable:
            continue
        parameters = role.trained_parameters()
        total = updates_of(method, name, config.training.max_train_steps)
        refuse_idle(name, total, config)
        role.optimizer = RoleOptimizer(parameters, config.optimization(name), total)
        ema = config.roles[name].ema
        if ema is not None:
            role.average = WeightAverage(parameters, ema.decay, ema.start_step)


def validation_prompts(config: RunConfig, dataset: Mixture) -> tuple[str, ...]:
    """The run's prompts: its own, or the first different captions of the data."""
    if config.validation.prompts is not None:
        return config.validation.prompts
    return tuple(dataset.captions(config.validation.max_prompts))


def comparison_prompts(config: RunConfig, dataset: Mixture) -> tuple[str, ...]:
    """The comparison's prompts: its own, or the first different captions of the data; none without a comparison."""
    if config.comparison is None:
        return ()
    if config.comparison.prompts is not None:
        return config.comparison.prompts
    return tuple(dataset.captions(config.comparison.max_prompts))


@dataclass(frozen=True)
class Runtime:
    """A run that is ready to train.

    Attributes:
        trainer: what trains.
        roles: the participants.
        trackers: where figures go; to be finished at the end.
        start: the step that the run goes on from, 0 for a new one.
        method: the algorithm.
        comparer: what compares at the end, or None if the run does not.
    """

    trainer: Trainer
    roles: Mapping[str, RoleHandle]
    trackers: Trackers
    start: int
    method: Method
    comparer: Comparer | None


def build(prepared: Prepared, directory: RunDirectory, events: Events, progress: Progress) -> Runtime:
    """Load everything that the run names, and the newest checkpoint of its directory into it."""
    run, placement, dataset, latent_shape = prepared.run, prepared.placement, prepared.dataset, prepared.latent_shape
    config = run.config
    models = build_models(run, placement)
    roles = build_roles(run, models, placement)
    method: Method = load_target(run.method.build, f"method {run.method.name!r}")(roles, run.method_options)
    attach_optimizers(config, method, roles)
    stream = open_stream(prepared, directory, events)
    checkpoints = Checkpoints(
        directory.checkpoints, events, keep_last=config.checkpoint.keep_last, resume=config.checkpoint.resume != "never"
    )
    state = TrainingState(roles, stream, latent_shape)
    start = checkpoints.resume(state)
    resolved = redact_mapping(run.to_mapping())
    trackers = open_trackers(config.tracking, directory, resolved, start, events)
    lead = models[family_of(config, run.lead)]
    validator = VideoValidator(
        lead.sampler,
        roles,
        config.validation,
        validation_prompts(config, dataset),
        latent_shape,
        directory.samples,
        measures=prepared.measures,
        tracker=trackers,
        events=events,
        progress=progress,
    )
    trainer = DistillTrainer(
        schedule_of(config),
        method,
        state,
        lead.adapter,
        placement.device,
        start=start,
        checkpoints=checkpoints,
        tracker=trackers,
        events=events,
        progress=progress,
        validator=validator,
    )
    comparer = comparer_of(prepared, lead, roles, directory, events, progress)
    return Runtime(trainer, roles, trackers, start, method, comparer)


def comparer_of(
    prepared: Prepared,
    lead: ModelPlugin,
    roles: Mapping[str, RoleHandle],
    directory: RunDirectory,
    events: Events,
    progress: Progress,
) -> Comparer | None:
    """What carries out the run's ``comparison`` section, if it has one."""
    config = prepared.run.config
    if config.comparison is None:
        return None
    return Comparer(
        config.comparison,
        config.validation,
        comparison_prompts(config, prepared.dataset),
        lead.sampler,
        roles,
        prepared.latent_shape,
        prepared.measures,
        directory.comparison,
        key=config.model_dump(mode="json", include={"comparison", "validation", "metrics"}),
        events=events,
        progress=progress,
    )


def open_stream(prepared: Prepared, directory: RunDirectory, events: Events) -> RowStream:
    """The run's rows; bad ones are refused, or noted in the run directory and passed over, as ``data.on_bad_row`` says."""
    config, dataset, plan = prepared.run.config, prepared.dataset, prepared.plan
    quarantine = None
    if config.data.on_bad_row == "skip":

        def warn(row: BadRow) -> None:
            events.warn("bad row", f"{row.file}:{row.row} is passed over: {row.reason}")

        quarantine = Quarantine(directory.quarantine, dataset.fingerprint(), len(dataset), warn)
        quarantine.add(plan.bad)
    return RowStream(
        dataset,
        plan.buckets,
        batch_size=config.training.train_batch_size,
        seed=config.training.seed,
        num_workers=config.data.num_workers,
        pin_memory=prepared.placement.device.type == "cuda",
        quarantine=quarantine,
    )


def schedule_of(config: RunConfig) -> Schedule:
    """The trainer's schedule, from the sections of run.yaml that it is spread over."""
    return Schedule(
        max_steps=config.training.max_train_steps,
        accumulation=config.training.gradient_accumulation_steps,
        seed=config.training.seed,
        log_interval=config.tracking.log_interval,
        save_interval=config.checkpoint.interval,
        validation_interval=config.validation.interval,
        validate_at_start=config.validation.at_start,
    )
