"""From a prepared run to a trainer: the one place where models, roles, data, method and trackers meet. It contains no algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from distill_core.checkpoint import Checkpoints, Consent, Identity
from distill_core.comparison import Comparer
from distill_core.config.checks import family_of
from distill_core.config.duration import seconds
from distill_core.config.resolve import ResolvedRun
from distill_core.config.schema import Checkpoint
from distill_core.data.reading.bad_rows import BadRow, Quarantine
from distill_core.data.reading.stream import RowStream
from distill_core.protocols.method import Method
from distill_core.protocols.model import EncodesAhead, ModelPlugin
from distill_core.protocols.tracker import Tracker
from distill_core.protocols.trainer import Trainer
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.redaction import redact_mapping
from distill_core.running.content import ContentHashes
from distill_core.running.identity import DATA, consent_of, identity_of
from distill_core.running.preparation import Placement, Prepared, comparison_prompts, validation_prompts
from distill_core.running.requests import refuse_misfits
from distill_core.running.resuming import named_checkpoint, set_aside_later
from distill_core.running.roles import RoleBuilder, attach_optimizers, build_method, build_models, go_on, refuse_idle
from distill_core.running.run_directory import RunDirectory
from distill_core.running.settling import Settling, refuse_unlike_code
from distill_core.running.trackers import open_trackers, silent
from distill_core.running.weights import Probe
from distill_core.sampling.validator import VALIDATION, VideoValidator
from distill_core.stopping import Stopping
from distill_core.tracking import Trackers
from distill_core.tracking.events import Events
from distill_core.tracking.jsonl import has_figures
from distill_core.tracking.progress import Progress
from distill_core.training.batches import Batches
from distill_core.training.roles import RoleHandle
from distill_core.training.schedule import Schedule
from distill_core.training.state import TrainingState
from distill_core.training.trainer import DistillTrainer

PROBED = (900.0, 500.0, 100.0)
"""The timesteps at which it is measured what fewer bits cost a prediction."""


@dataclass(frozen=True)
class Runtime:
    """A run that is ready to train.

    Attributes:
        trainer: what trains.
        roles: the participants.
        trackers: where figures go; to be finished at the end.
        start: the step that the run goes on from, 0 for a new one.
        method: the algorithm.
        rows: the data, to be closed at the end.
        comparer: what compares at the end, or None if the run does not.
    """

    trainer: Trainer
    roles: Mapping[str, RoleHandle]
    trackers: Trackers
    start: int
    method: Method
    rows: RowStream
    comparer: Comparer | None


def build(
    prepared: Prepared,
    directory: RunDirectory,
    plugins: Sequence[Mapping[str, str]],
    events: Events,
    progress: Progress,
    stopping: Stopping,
    ranks: Ranks = ALONE,
) -> Runtime:
    """Load everything that the run names, and the newest checkpoint of its directory into it. Of several ``ranks`` the first one writes."""
    run, placement, latent_shape = prepared.run, prepared.placement, prepared.latent_shape
    config = run.config
    refuse_unlike_code(prepared, plugins, ranks)
    models = build_models(run, placement)

    def tell(remark: str) -> None:
        """Write down and show what a family says of its modules."""
        events.note("modules", remark)
        progress.say(remark)

    encode_ahead(prepared, models, directory, writes=ranks.first)
    batches, settling = batches_of(run, models, placement), Settling(ranks, placement.device)
    probe = probe_of(prepared, models, batches)
    roles = RoleBuilder(run, models, placement, latent_shape, tell, probe, settling, spread=settling.spread).build()
    settling.agree()
    method = build_method(run, roles)
    refuse_idle(config, method)
    refuse_misfits(run, method, latent_shape)
    attach_optimizers(config, method, roles)
    stream = open_stream(prepared, directory, events, ranks)
    identity = ranks.from_first(
        lambda: identity_of(prepared, settling.frozen, plugins, ContentHashes(directory.content)),
    )
    checkpoints = _checkpoints(config.checkpoint, directory, events, ranks, identity, consent_of(prepared))
    state = TrainingState(roles, stream, latent_shape)
    start = gone_on(prepared, directory, checkpoints, state, events, ranks)
    go_on(config, method, roles, start)
    resolved = redact_mapping(run.to_mapping())
    trackers = open_trackers(config.tracking, directory, resolved, start, events) if ranks.first else silent(events)
    lead = models[family_of(config, run.lead)]
    validator = validator_of(prepared, lead, roles, directory, trackers, events, progress, stopping, ranks)
    validated = ranks.from_first(lambda: has_figures(directory.metrics, start, VALIDATION))
    trainer = DistillTrainer(
        schedule_of(run, prepared.until),
        method,
        state,
        batches,
        placement.device,
        start=start,
        validated=validated,
        checkpoints=checkpoints,
        tracker=trackers,
        events=events,
        progress=progress,
        validator=validator,
        stopping=stopping,
        ranks=ranks,
    )
    comparer = comparer_of(prepared, lead, roles, directory, trackers, events, progress, stopping, ranks)
    return Runtime(trainer, roles, trackers, start, method, stream, comparer)


def gone_on(
    prepared: Prepared,
    directory: RunDirectory,
    checkpoints: Checkpoints,
    state: TrainingState,
    events: Events,
    ranks: Ranks,
) -> int:
    """Load the checkpoint that the run goes on from, if there is one. Returns its step."""
    named = prepared.resume
    if named is None:
        return checkpoints.resume(state)
    checkpoint = ranks.from_first(lambda: named_checkpoint(named, directory))
    start = checkpoints.resume(state, checkpoint)
    ranks.from_first(lambda: set_aside_later(directory, checkpoint, events))
    return start


def _checkpoints(
    saving: Checkpoint,
    directory: RunDirectory,
    events: Events,
    ranks: Ranks,
    identity: Identity,
    consent: Consent,
) -> Checkpoints:
    """Those of the run's directory, as its ``checkpoint:`` wants them kept."""
    return Checkpoints(
        directory.checkpoints,
        events,
        keep_last=saving.keep_last,
        resume=saving.resume != "never",
        identity=identity,
        consent=consent,
        ranks=ranks,
        behind=saving.mode == "async",
    )


ENCODED_TEXTS = frozenset({"unconditional", "drop_condition"})
"""Operations for which a family encodes a caption of its own: the negative one, the empty one."""


def encode_ahead(
    prepared: Prepared, models: Mapping[str, ModelPlugin], directory: RunDirectory, *, writes: bool
) -> None:
    """Let each family whose text encoder will be needed encode the run's captions now, while no role takes memory."""
    config = prepared.run.config
    sampled = config.validation.interval is not None or config.validation.at_start or config.comparison is not None
    prompts: tuple[str, ...] = ()
    if sampled:
        prompts = (*validation_prompts(config, prepared.dataset), *comparison_prompts(config, prepared.dataset))
    encode_texts(prepared.run, models, tuple(dict.fromkeys(prompts)), directory.captions, writes=writes)


def encode_texts(
    run: ResolvedRun, models: Mapping[str, ModelPlugin], prompts: tuple[str, ...], folder: Path, *, writes: bool
) -> None:
    """Let the lead's family encode ``prompts``, and each family the captions of its own that its roles will ask for."""
    lead = family_of(run.config, run.lead)
    for family, model in models.items():
        roles = [name for name, need in run.needs.items() if need.module is None]
        own = [run.needs[name] for name in roles if family_of(run.config, name) == family]
        wanted = any(need.operations & ENCODED_TEXTS for need in own)
        if isinstance(model, EncodesAhead) and (wanted or (prompts and family == lead)):
            model.encode_ahead(prompts if family == lead else (), folder, writes=writes)


def batches_of(run: ResolvedRun, models: Mapping[str, ModelPlugin], placement: Placement) -> Batches:
    """What makes the run's batches."""
    adapters = {family: model.adapter for family, model in models.items()}
    return Batches(adapters, run.facts[run.lead].latent_space, placement.device, run.demands.columns)


def probe_of(prepared: Prepared, models: Mapping[str, ModelPlugin], batches: Batches) -> Probe:
    """Predictions of the run's first rows, noised alike, by any modules of a family."""

    def probe(family: str, container: nn.ModuleDict) -> Tensor:
        """The velocity [B, T, C, H, W] at three times."""
        rows = [prepared.dataset[int(index)] for index in prepared.plan.buckets[0].rows[:1]] * len(PROBED)
        batch = batches.prepare(rows, prepared.plan.buckets[0].latent_shape)
        noisy = torch.randn((len(rows), *batch.latent_shape), generator=torch.Generator().manual_seed(0))
        role = RoleHandle("probe", container, models[family].adapter, trainable=False, family=family)
        timestep = torch.tensor(PROBED, dtype=torch.float64)
        return role.predict_velocity(noisy.to(prepared.placement.device), timestep, batch.conditions[family])

    return probe


def validator_of(
    prepared: Prepared,
    lead: ModelPlugin,
    roles: Mapping[str, RoleHandle],
    directory: RunDirectory,
    tracker: Tracker,
    events: Events,
    progress: Progress,
    stopping: Stopping,
    ranks: Ranks = ALONE,
) -> VideoValidator:
    """What carries out the method's validation requests."""
    config = prepared.run.config
    return VideoValidator(
        lead.sampler,
        roles,
        config.validation,
        validation_prompts(config, prepared.dataset),
        prepared.latent_shape,
        directory.samples,
        sparsity=config.training.VSA_sparsity,
        measures=prepared.measures,
        tracker=tracker,
        events=events,
        progress=progress,
        stopping=stopping,
        ranks=ranks,
    )


def comparer_of(
    prepared: Prepared,
    lead: ModelPlugin,
    roles: Mapping[str, RoleHandle],
    directory: RunDirectory,
    tracker: Tracker,
    events: Events,
    progress: Progress,
    stopping: Stopping,
    ranks: Ranks = ALONE,
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
        prepared.run.facts[prepared.run.lead].latent_space,
        prepared.measures,
        directory.comparison,
        sparsity=config.training.VSA_sparsity,
        key=config.model_dump(mode="json", include={"comparison", "validation", "metrics"}),
        tracker=tracker,
        events=events,
        progress=progress,
        stopping=stopping,
        ranks=ranks,
    )


def open_stream(prepared: Prepared, directory: RunDirectory, events: Events, ranks: Ranks = ALONE) -> RowStream:
    """The run's rows; bad ones are refused, or noted in the run directory and passed over, as ``data.on_bad_row`` says."""
    config, dataset, plan = prepared.run.config, prepared.dataset, prepared.plan
    quarantine = None
    if config.data.on_bad_row == "skip":

        def warn(row: BadRow) -> None:
            """Show what is passed over."""
            events.warn("bad row", f"{row.file}:{row.row} is passed over: {row.reason}")

        def say(remark: str) -> None:
            """Show what became of the list."""
            events.warn("record_damaged", remark)

        fingerprint, first = dataset.fingerprint(), ranks.first
        quarantine = Quarantine(directory.quarantine, fingerprint, len(dataset), warn, say, first=first)
        quarantine.add(plan.bad)
        quarantine.share(ranks)
    return RowStream(
        dataset,
        plan.buckets,
        batch_size=config.training.train_batch_size,
        seed=config.training.seed,
        rank=ranks.group_number,
        world_size=ranks.groups,
        num_workers=config.data.num_workers,
        pin_memory=prepared.placement.device.type == "cuda",
        quarantine=quarantine,
        any_data=DATA in config.checkpoint.accept,
    )


def schedule_of(run: ResolvedRun, until: int | None = None) -> Schedule:
    """The trainer's schedule, from the sections of run.yaml that it is spread over."""
    config = run.config
    return Schedule(
        max_steps=config.training.max_train_steps,
        accumulation=config.training.gradient_accumulation_steps,
        seed=config.training.seed,
        log_interval=config.tracking.log_interval,
        save_interval=config.checkpoint.interval,
        save_every=None if config.checkpoint.every is None else seconds(config.checkpoint.every),
        validation_interval=config.validation.interval,
        validate_at_start=config.validation.at_start,
        on_nonfinite=config.training.on_nonfinite,
        sparsity=run.sparsity,
        until=until,
        step_roles=config.training.step_roles,
    )
