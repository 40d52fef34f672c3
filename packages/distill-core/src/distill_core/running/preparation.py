"""From a run.yaml to a run of which everything is known but the weights: what can be refused is refused here, all at once.

Writes nothing, loads no weight, and knows no algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from distill_core.config import checks
from distill_core.config.blame import Faults
from distill_core.config.data_sets import hub_data, listed_data
from distill_core.config.resolve import Findings, ResolvedRun
from distill_core.config.sampled import Comparison, Validation
from distill_core.config.schema import RunConfig
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.hub_data import fetched
from distill_core.data.reading.made_with import check_made_shape
from distill_core.data.reading.mixture import Mixture, Part
from distill_core.data.reading.plan import DataPlan, plan_data
from distill_core.errors import ConfigError, Problem
from distill_core.plugins.specs import LatentSpace, ModelFacts
from distill_core.ranks.layout import Layout
from distill_core.ranks.place import ONLY, Place
from distill_core.running.data_notes import data_notes
from distill_core.running.demanded import refuse_lengths, refuse_shared_places
from distill_core.running.first_stage import find_stage, refuse_other_stage
from distill_core.running.loras import check_files
from distill_core.running.means import (
    refuse_compiled,
    refuse_kernels,
    refuse_narrow_weights,
    refuse_optimizers,
    refuse_placed,
    refuse_quantized,
)
from distill_core.running.measurable import refuse_unmeasurable
from distill_core.running.resuming import refuse_named
from distill_core.running.rewards import check_rewards
from distill_core.running.run_directory import RunDirectory
from distill_core.running.shared_batches import refuse_idle_processes, refuse_uneven
from distill_core.running.shared_clips import refuse_shared_clips, refuse_uneven_tokens
from distill_core.sampling.measures import Measures
from distill_core.sampling.requests import check_pictures, picture_misfit
from distill_core.terminal import said_meanwhile

TRIED_OUT = "trying out on this machine what the run asks of it, e.g. a compiler: a minute, or more, the first time"

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

    def settings(self) -> dict[str, str]:
        """``training.device`` and ``training.precision`` as they were chosen."""
        return {"device": self.device.type, "precision": "bf16" if self.compute is torch.bfloat16 else "fp32"}

    def described(self) -> dict[str, str]:
        """For environment.json."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return {"device": name, "compute_dtype": str(self.compute).removeprefix("torch.")}


def place(device: str, precision: str, local_rank: int = 0) -> Placement:
    """Resolve ``training.device`` and ``training.precision``. Raises ConfigError for a GPU that is not there.

    ``local_rank``: the number of this process on its machine; each has a GPU of its own.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            [Problem("training.device", "this machine has no CUDA device; set training.device to auto or cpu")]
        )
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    half = precision == "bf16" or (precision == "auto" and chosen == "cuda")
    where = torch.device(chosen)
    if chosen == "cuda" and local_rank:
        if local_rank >= torch.cuda.device_count():
            message = (
                f"this machine has {torch.cuda.device_count()} GPUs, and this is its process number {local_rank + 1}"
            )
            raise ConfigError([Problem("training.device", f"{message}; start one process per GPU")])
        where = torch.device(chosen, local_rank)
    return Placement(where, torch.bfloat16 if half else torch.float32)


def refuse_sharding(run: ResolvedRun | Findings, layout: Layout) -> None:
    """Raise ConfigError for what weights in parts cannot serve: models whose passes differ from process to process, and derivatives."""
    problems = []
    needs = {} if run.method is None else run.method.needs(run.demands)
    for name, need in needs.items() if layout.shard > 1 else ():
        if "along" in need.operations:
            message = f"role {name!r} is asked for derivatives in forward mode, which weights in parts do not have"
            problems.append(Problem("distributed.shard", f"{message}; set distributed.shard=1"))
        facts = run.facts.get(name)
        if "stream" in need.operations and facts is not None and facts.boundary is not None:
            message = f"role {name!r} has two experts and goes on from frames that it remembers, which weights in parts do not serve yet"
            problems.append(Problem("distributed.shard", f"{message}; set distributed.shard=1"))
    config = run.config
    for name, role in config.roles.items() if layout.shard > 1 else ():
        if role.trainable and role.lora is None and config.optimization(name).optimizer != "adamw":
            message = f"the {config.optimization(name).optimizer} of role {name!r} does not update weights in parts"
            problems.append(
                Problem("distributed.shard", f"{message}; set distributed.shard=1, or its optimizer to adamw")
            )
    if problems:
        raise ConfigError(problems)


@dataclass(frozen=True)
class Prepared:
    """A run of which everything is known but the weights: what can be refused has been, and nothing is written or loaded yet.

    Attributes:
        run: the configuration, with the device and the precision that were chosen, the plugins and the models' folders.
        placement: where it computes.
        dataset: its data.
        plan: the rows that it trains on, by shape.
        measures: the metrics; they can measure the run's prompts at its size.
        data_notes: what is to be said of the data that is no fault.
        until: a step to leave after, saved; None is the last.
        resume: the checkpoint to go on from, as a person named it; None is the newest good one.
    """

    run: ResolvedRun
    placement: Placement
    dataset: Mixture
    plan: DataPlan
    measures: Measures
    data_notes: tuple[str, ...] = ()
    until: int | None = None
    resume: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the run.yaml says to no effect, and what may not be meant about its data, for a person to read."""
        return (*self.run.notes, *self.data_notes)

    @property
    def latent_shape(self) -> LatentShape:
        """[T, C, H, W] that the run samples at: that of the most training samples."""
        return self.plan.latent_shape

    def asked(self) -> dict[str, Any]:
        """The whole run as plain data, with what was left to the machine as ``auto``."""
        said = self.run.loaded.config.training
        mapping = self.run.to_mapping()
        mapping["training"] |= {"device": said.device, "precision": said.precision}
        return mapping

    def described(self) -> dict[str, object]:
        """For environment.json: where the run computes, and the commits of the data sets that come from the Hub."""
        listed = zip(listed_data(self.run.config.data), self.dataset.parts, strict=True)
        # A snapshot's folder is named by its commit.
        commits = {each.path: part.dataset.path.name for each, part in listed if hub_data(each.path) is not None}
        return {**self.placement.described(), **({"data": commits} if commits else {})}


def prepare(run: ResolvedRun, process: Place = ONLY) -> Prepared:
    """Check cadence, device, data and metrics of a run that is right in itself. Raises a DistillError with all their faults.

    ``process``: which of how many processes this one is.
    """
    faults = Faults(run.loaded.document, run.loaded.path)
    survey = _surveyed(run, faults, process)
    faults.refuse()
    return survey.prepared(run)


def prepare_found(found: Findings, process: Place = ONLY, resume: str | None = None) -> Prepared:
    """``prepare`` for a run.yaml of which it is not known yet whether it is right; also claims its output_dir.

    ``resume``: the checkpoint to go on from, as a person named it.

    Raises a DistillError with all faults: of the class that they share, or ConfigError.
    """
    found.refuse_known()
    faults = Faults(found.loaded.document, found.loaded.path)
    survey = _surveyed(found, faults, process)
    # By every process: one that alone left here would be waited for by the others.
    with faults.at("output_dir"):
        directory = RunDirectory(Path(found.config.output_dir))
        directory.claim(found.resolved().to_mapping())
        if resume is not None:
            refuse_named(resume, directory, found.config.checkpoint)
    faults.refuse()
    return replace(survey.prepared(found.resolved()), resume=resume)


@dataclass(frozen=True)
class _Survey:
    """The parts of a :class:`Prepared`; None with a fault, or where a fault stands in the way."""

    placement: Placement | None
    dataset: Mixture | None
    plan: DataPlan | None
    measures: Measures
    data_notes: tuple[str, ...]

    def prepared(self, run: ResolvedRun) -> Prepared:
        """The whole. Nothing was at fault."""
        assert self.placement is not None
        assert self.dataset is not None
        assert self.plan is not None
        if run.config.training.cpu_threads is not None:
            torch.set_num_threads(run.config.training.cpu_threads)
        training = run.config.training.model_copy(update=self.placement.settings())
        run = replace(run, config=run.config.model_copy(update={"training": training}))
        return Prepared(run, self.placement, self.dataset, self.plan, self.measures, self.data_notes)


def _surveyed(run: ResolvedRun | Findings, faults: Faults, process: Place) -> _Survey:
    """All that can be found out; what depends on a key that is at fault already is passed over."""
    config = run.config
    if run.method is not None and run.method_options is not None and not faults.touch("training", "method_config"):
        faults.problems += checks.idle(run.method, run.method_options, config, run.loaded.document)
    if not faults.touch("training"):
        with faults.at("training", "train_batch_size"):
            refuse_uneven(config, process.size)
    layout = Layout.of(None, 1, 1)
    with faults.at("distributed"):
        spread = config.distributed
        layout = Layout.of(spread.replicate, spread.shard, process.size, spread.context)
        refuse_sharding(run, layout)
        refuse_shared_clips(run, layout)
    with faults.at("roles"):
        refuse_placed(config, layout)
    placement = None
    if not faults.touch("training.device", "training.precision"):
        with faults.at("training", "device"):
            placement = place(config.training.device, config.training.precision, process.local_rank)
            refuse_narrow_weights(config, placement.compute)
            refuse_quantized(config, placement.device, placement.compute)
            refuse_optimizers(config)
            with said_meanwhile(TRIED_OUT) if process.rank == 0 else nullcontext():
                refuse_compiled(run, placement.device, placement.compute, layout)
                refuse_kernels(run, placement.device, placement.compute)
    needs = {} if run.method is None else run.method.needs(run.demands)
    for name, role in config.roles.items():
        if role.checkpoint is not None:
            with faults.at("roles", name, "checkpoint"):
                find_stage(role.checkpoint)
                refuse_other_stage(role.checkpoint, needs[name].stage_of if name in needs else ())
    check_files(run, faults)
    dataset = _opened(run, faults)
    plan = None if dataset is None else _planned(run, dataset, faults)
    if plan is not None:
        with faults.at("data", "path"):
            refuse_idle_processes(plan.different, config.training.train_batch_size, process.size, layout.context)
    if plan is not None:
        with faults.at("distributed"):
            refuse_uneven_tokens(run, plan.latent_shape, [bucket.latent_shape for bucket in plan.buckets], layout)
    if plan is not None and run.demands is not None:
        with faults.at("method_config"):
            refuse_lengths(plan, run.demands)
        if run.demands.by_place:
            with faults.at("recipe", "method"):
                refuse_shared_places(config, plan, process.size)
    measures = _built(run, faults)
    if dataset is not None and plan is not None and not faults.touch("validation", "comparison"):
        _check_prompts(run, dataset, plan, measures, faults)
        _check_pictures(run, dataset, faults)
    if dataset is not None and plan is not None:
        check_rewards(run, dataset, plan, faults)
    notes = () if dataset is None or plan is None or faults.problems else tuple(data_notes(run, dataset, plan, faults))
    return _Survey(placement, dataset, plan, measures, notes)


def _opened(run: ResolvedRun | Findings, faults: Faults) -> Mixture | None:
    """The data; None if not all of them can be opened, or if it is not known what the method needs of them."""
    if run.demands is None or faults.touch("data.path", "data.mix"):
        return None
    parts: list[Part] = []
    for listed in listed_data(run.config.data):
        with faults.at(*listed.key):
            opened = open_dataset(fetched(listed.path), run.demands.latents, run.columns, indexed=True)
            parts.append(Part(opened, listed.repeats, listed.share))
    incomplete = len(parts) <= len(run.config.data.mix) or faults.touch("data.weights")
    return None if incomplete else Mixture(parts)


def _planned(run: ResolvedRun | Findings, dataset: Mixture, faults: Faults) -> DataPlan | None:
    """The rows that the run trains on; None if they, or what they are to fit, are at fault."""
    models = _agreeing(list(run.facts.values()))
    if not models or faults.touch("data"):
        return None
    for listed, part in zip(listed_data(run.config.data), dataset.parts, strict=True):
        with faults.at(*listed.key):
            alone = plan_data(Mixture([part]), models, run.config.data)
            if run.demands is not None and not run.demands.latents:
                check_made_shape(part.dataset.files, run.columns, alone.latent_shape)
    return None if faults.touch("data") else plan_data(dataset, models, run.config.data)


def _agreeing(facts: Sequence[ModelFacts]) -> list[ModelFacts]:
    """The models of the first one's space: only those can the data fit together. That others are there is a fault of its own."""

    def space(model: ModelFacts) -> tuple[LatentSpace, int, int]:
        """What must agree."""
        return model.latent_space, model.text_width, model.text_length

    return [model for model in facts if space(model) == space(facts[0])]


def _built(run: ResolvedRun | Findings, faults: Faults) -> Measures:
    """The metrics that can be built."""
    built = []
    for name, options in run.metric_options.items():
        with faults.at("metrics", name):
            built.append(Measures.of({name: run.metrics[name]}, {name: options}))
    metrics = {name: metric for each in built for name, metric in each.metrics.items()}
    return Measures(metrics, tuple(figure for each in built for figure in each.headline))


def _check_prompts(
    run: ResolvedRun | Findings, dataset: Mixture, plan: DataPlan, measures: Measures, faults: Faults
) -> None:
    """Whether each metric can measure the run's prompts at its size."""
    with faults.at("data", "path"):
        prompts = (*validation_prompts(run.config, dataset), *comparison_prompts(run.config, dataset))
        size = next(iter(run.facts.values())).latent_space.pixels(plan.latent_shape)
        for name, metric in measures.metrics.items():
            with faults.at("metrics", name):
                refuse_unmeasurable(metric, prompts, size, lambda prompt: source_of_prompt(prompt, run.config, dataset))


def _check_pictures(run: ResolvedRun | Findings, dataset: Mixture, faults: Faults) -> None:
    """Whether what the run samples is shown the pictures that its model is made for, and each can be read."""
    config, facts = run.config, next(iter(run.facts.values()))
    sections: dict[str, tuple[Validation | Comparison, tuple[str, ...]]] = {}
    if config.validation.interval is not None or config.validation.at_start or config.validation.first_frames:
        sections["validation"] = config.validation, validation_prompts(config, dataset)
    if config.comparison is not None:
        sections["comparison"] = config.comparison, comparison_prompts(config, dataset)
    for name, (section, prompts) in sections.items():
        shown = {"first_frame": section.first_frames, "last_frame": section.last_frames}
        fault = picture_misfit(facts.pictures, shown, len(prompts))
        if fault is not None:
            faults.problems.append(run.loaded.document.problem((name, "first_frames"), fault))
            continue
        with faults.at(name, "first_frames"):
            check_pictures(facts, section.first_frames, section.last_frames, len(prompts))


def source_of_prompt(prompt: str, config: RunConfig, dataset: Mixture) -> str | None:
    """Where a prompt of validation or of the comparison comes from."""
    sections = {"validation": config.validation, "comparison": config.comparison}
    said = (name for name, section in sections.items() if section is not None and prompt in (section.prompts or ()))
    return next((f"{name}.prompts" for name in said), dataset.source_of(prompt))


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
