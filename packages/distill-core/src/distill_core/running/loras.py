"""The LoRAs of a run's roles, on modules that are loaded: the one that a role trains, and those of files. Contains no algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from distill_core.config.blame import Faults
from distill_core.config.checks import family_of
from distill_core.config.document import dotted
from distill_core.config.lora import FixedLora
from distill_core.config.resolve import Findings, ResolvedRun
from distill_core.errors import ConfigError, ModelFolderError, Problem
from distill_core.plugins.loading import make_target
from distill_core.plugins.lora import chosen_layers
from distill_core.protocols.lora import LoraFiles, LoraUpdates, LowRankUpdate
from distill_core.training.lora import LoraWeights, Rank, Worn, linear_layers


def trained_lora(run: ResolvedRun, source: str, modules: Mapping[str, nn.Module]) -> LoraWeights | None:
    """The LoRA that a role trains, with its first weights; None for one that trains none.

    Raises ConfigError for targets that mean no layer.
    """
    settings = run.config.roles[source].lora
    if settings is None:
        return None
    support = run.models[family_of(run.config, source)].lora
    names = list(linear_layers(modules))
    size = Rank(settings.rank, 1.0 if settings.alpha is None else settings.alpha / settings.rank)
    chosen = chosen_layers(support, settings.targets, names)
    if isinstance(chosen, str):
        raise ConfigError([Problem(f"roles.{source}.lora.targets", chosen)])
    made = LoraWeights(modules, dict.fromkeys(chosen, size), settings.dropout)
    made.initialize(run.config.training.seed, source, settings.init)
    return made


def fixed_loras(run: ResolvedRun, source: str, modules: Mapping[str, nn.Module]) -> Worn:
    """The LoRAs of a role's files. Raises ModelFolderError for files that do not fit."""
    return tuple(
        loaded_lora(read_lora(run, source, each), each.scale, modules, each.path)
        for each in run.config.roles[source].fixed_loras
    )


def check_files(run: ResolvedRun | Findings, faults: Faults) -> None:
    """Read the LoRA files of a run that are at no fault yet, and keep as faults what is wrong with them."""
    for name, facts in run.facts.items():
        family = family_of(run.config, name)
        for number, each in enumerate(run.config.roles[name].fixed_loras):
            key = ("roles", name, "fixed_loras", number, "path")
            if family in run.models and not faults.touch(dotted(key)):
                with faults.at(*key):
                    updates = read_lora(run, name, each)
                    layers = run.models[family].lora.layers(facts)
                    if layers is not None:
                        _refuse_unfit(updates, layers, each.path)


def _refuse_unfit(updates: LoraUpdates, layers: Mapping[str, tuple[int, int]], path: str) -> None:
    """Raise ModelFolderError for an update that is of none of the layers, or of one of another size."""
    for name, update in sorted(updates.items()):
        size = update.b.shape[0], update.a.shape[1]
        if name not in layers:
            raise ModelFolderError(f"{path}: its update of {name} fits no layer of this model; it is of another model")
        if size != layers[name]:
            has, other = (f"{outputs} × {inputs}" for outputs, inputs in (layers[name], size))
            raise ModelFolderError(
                f"{path}: its update of {name} is of {other} numbers, that layer here of {has}; it is of another model"
            )


def read_lora(run: ResolvedRun | Findings, source: str, fixed: FixedLora) -> LoraUpdates:
    """What a file of a role holds. Raises ModelFolderError for one that is no LoRA of the family's."""
    family = family_of(run.config, source)
    files: LoraFiles = make_target(run.models[family].lora.files, f"model {family!r}")
    return files.read(Path(fixed.path), run.facts[source], fixed.part)


def loaded_lora(updates: LoraUpdates, scale: float, modules: Mapping[str, nn.Module], path: str) -> LoraWeights:
    """Updates on the layers that they are of. Raises ModelFolderError where there are none such."""
    layers = linear_layers(modules)
    _refuse_unfit(updates, {name: (layer.out_features, layer.in_features) for name, layer in layers.items()}, path)
    made = LoraWeights(modules, {name: Rank(len(each.a), each.scale * scale) for name, each in updates.items()})
    made.load({name: (each.a, each.b) for name, each in updates.items()})
    return made


def updates_of(lora: LoraWeights) -> dict[str, LowRankUpdate]:
    """What a LoRA holds, on the CPU, as files have it."""
    tensors = {name: tensor.detach().cpu() for name, tensor in lora.state_dict().items()}
    return {
        name: LowRankUpdate(tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"], size.scale)
        for name, size in lora.sizes.items()
    }
