"""A trained role, brought back from a run directory: what export and sampling start from. Trains nothing, opens no data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from distill_core.checkpoint import Checkpoint, records_alone
from distill_core.config.checks import family_of
from distill_core.config.document import read_document
from distill_core.config.resolve import ResolvedRun, open_run
from distill_core.config.sampled import completed
from distill_core.durable import read_signed
from distill_core.errors import CheckpointError, ConfigError, Problem, RunDirectoryError
from distill_core.finished.relocation import compare, path_override, refuse_absent, relocated
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.loading import make_target
from distill_core.plugins.specs import ModelFacts, ModelSpec
from distill_core.protocols.model import ModelPlugin, ModelRequest
from distill_core.protocols.validator import ValidationRequest
from distill_core.running.chosen_checkpoint import use_checkpoint
from distill_core.running.content import ContentHashes
from distill_core.running.first_stage import find_stage, take_base
from distill_core.running.identity import frozen_hash, role_identity
from distill_core.running.loras import fixed_loras, trained_lora
from distill_core.running.preparation import LatentShape, Placement
from distill_core.running.run_directory import RunDirectory
from distill_core.sampling.requests import misfit
from distill_core.training.answered import loaded_modules
from distill_core.training.roles import RoleHandle
from distill_core.training.state import finished_tensors

Asked = Callable[[ValidationRequest], ValidationRequest]
"""How a role is to be sampled, given how its method samples it."""


def as_told(request: ValidationRequest) -> ValidationRequest:
    """As its method samples it."""
    return request


def refuse_asked(
    request: ValidationRequest, model: ModelSpec, operations: frozenset[str], lacks: frozenset[str]
) -> None:
    """Raise ConfigError for a role that cannot be sampled as a person asks."""
    fault = misfit(request, model, operations, lacks)
    if fault is not None:
        raise ConfigError([Problem("", f"it cannot be sampled so: {fault}")], "distill sample")


def anything(_: ModelFacts) -> None:
    """Refuses no model."""


@dataclass(frozen=True)
class RestoredRole:
    """One role as a checkpoint left it.

    Attributes:
        role: the role, frozen, its averaged weights in place if it kept an average and they were asked for.
        model: its family.
        facts: the folder that it started from.
        sampling: how the method samples it, complete but for prompts and seeds.
        latent_shape: [T, C, H, W] that it was trained at.
        step: the training step of the checkpoint.
        told: whether the method says how its result is sampled.
        lora_files: what reads and writes LoRA files of the family; empty for none.
    """

    role: RoleHandle
    model: ModelPlugin
    facts: ModelFacts
    sampling: ValidationRequest
    latent_shape: LatentShape
    step: int
    told: bool
    lora_files: str = ""


def open_finished(
    root: Path, index: PluginIndex, only: str | None = None, base: str | None = None
) -> tuple[ResolvedRun, RunDirectory]:
    """The resolved configuration of a run directory. Raises RunDirectoryError if it is none.

    ``only``: the one role whose folder has to be there; None wants all. ``base``: where that is, if not where it was.
    """
    directory = _run_directory(root)
    try:
        document = read_document(read_signed(directory.resolved_yaml), str(directory.resolved_yaml))
    except ValueError as error:
        raise RunDirectoryError(
            f"{directory.resolved_yaml} is damaged; the command that trained the run writes it anew"
        ) from error
    overrides = relocated(document.data, root)
    if base is not None:
        if only is None:
            raise ConfigError([Problem("--base", "of which role? name it by --role")], "--base")
        overrides.append(path_override(only, base))
    refuse_absent(document.data, only, overrides)
    return open_run(directory.resolved_yaml, overrides, index, only), directory


def _run_directory(root: Path) -> RunDirectory:
    directory = RunDirectory(root)
    directory.refuse_no_run()
    return directory


def restore_role(
    root: Path,
    index: PluginIndex,
    name: str | None,
    *,
    step: int | None,
    averaged: bool,
    placement: Placement,
    base: str | None = None,
    asked: Asked = as_told,
    fits: Callable[[ModelFacts], None] = anything,
) -> RestoredRole:
    """Bring back a role of a run; ``name`` None is the role that the method samples.

    ``base``: the folder that the role started from, if the run has moved. ``asked``: how it is to be sampled, for which it is loaded too.
    ``fits`` may refuse the model before its weights are loaded. Raises RunDirectoryError and CheckpointError for what is not there, and
    CheckpointError for a role that the run did not train, or a folder that it did not start from; ConfigError where it cannot be sampled
    as asked.
    """

    def bring(checkpoint: Checkpoint) -> RestoredRole:
        """It, from one checkpoint, verified as it is read."""
        return _brought(checkpoint.verified(records_alone), root, index, name, averaged, placement, base, asked, fits)

    return use_checkpoint(_run_directory(root), step, bring)


def _modules(run: ResolvedRun, name: str, model: ModelPlugin, request: ModelRequest) -> nn.ModuleDict:
    """What a role computes with before its checkpoint: its folder's weights, or under a LoRA those of the whole role that it began on."""
    modules = nn.ModuleDict(loaded_modules(family_of(run.config, name), model, request))
    stage = run.config.roles[name].checkpoint
    if run.config.roles[name].lora is not None and stage is not None and not find_stage(stage).lora:
        take_base(modules, model.adapter, find_stage(stage))
    return modules


def _model(run: ResolvedRun, family: str, facts: ModelFacts, placement: Placement) -> ModelPlugin:
    owner, options = f"model {family!r}", run.model_options[family]
    model: ModelPlugin = make_target(
        run.models[family].build, owner, facts, options, placement.device, placement.compute
    )
    return model


def _brought(
    checkpoint: Checkpoint,
    root: Path,
    index: PluginIndex,
    name: str | None,
    averaged: bool,
    placement: Placement,
    base: str | None,
    asked: Asked,
    fits: Callable[[ModelFacts], None],
) -> RestoredRole:
    """The role as one checkpoint left it. Raises DamagedError if what is read of it is not what was written."""
    request = checkpoint.sampling()
    chosen = name if request is None else name or request.role
    run, directory = open_finished(root, index, chosen, base)
    name = chosen or run.lead
    trained = sorted(role for role, need in run.needs.items() if need.trainable and need.module is None)
    if name not in trained:
        raise CheckpointError(f"{directory.root} trains no role {name!r}; it trains {', '.join(trained)}")
    facts, family = run.facts[name], family_of(run.config, name)
    fits(facts)
    model = _model(run, family, facts, placement)
    own = request if request is not None and request.role == name else ValidationRequest(role=name)
    fault = misfit(own, run.models[family], run.needs[name].operations, facts.lacks)
    if fault is not None:
        raise CheckpointError(f"{checkpoint.path} says how its role is sampled, and it cannot be: {fault}")
    operations = run.needs[name].operations | asked(own).parts
    refuse_asked(asked(own), run.models[family], operations, facts.lacks)
    attention = run.demands.attention_of(name)
    request_of_modules = ModelRequest(facts, False, torch.float32, attention=attention, operations=operations)
    modules = _modules(run, name, model, request_of_modules)
    shape = checkpoint.latent_shape()
    made = partial(
        RoleHandle,
        name,
        modules,
        model.adapter,
        family=family,
        latent_shape=shape,
        lora=trained_lora(run, name, dict(modules.items())),
        fixed=fixed_loras(run, name, dict(modules.items())),
    )
    role = made(trainable=True)
    here = role_identity(name, facts, ContentHashes(None), frozen_hash(role))
    compare(checkpoint, here, facts.path, named=base is not None)
    averaged = averaged and run.config.roles[name].ema is not None
    checkpoint.load(finished_tensors(role, averaged=averaged), unverified=True)
    sampling = completed(own, run.config.validation, (), run.config.training.VSA_sparsity)
    return RestoredRole(
        made(trainable=False),
        model,
        facts,
        replace(sampling, prompts=None, seeds=None, first_frames=None, last_frames=None),
        shape,
        checkpoint.step,
        told=request is not None,
        lora_files=run.models[family].lora.files,
    )
