"""The model whose encoders or decoder a data command uses: its family, options, and what its folder says. No torch until it loads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_core.errors import ForeignPipelineError, PluginError
from distill_core.plugins.answers import facts_of, settled_facts
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.loading import make_target
from distill_core.plugins.recognition import owners, recognised
from distill_core.plugins.specs import ModelFacts, ModelSpec, Options
from distill_core.protocols.model import ModelPlugin

if TYPE_CHECKING:
    import torch

TEXT_LENGTH = "text_length"
"""What a family that can attend more or fewer text tokens calls the option."""


def device_of_process(environment: Mapping[str, str]) -> torch.device:
    """The GPU that torchrun means for this process, or the only one, or the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(environment.get("LOCAL_RANK", "0")))


def chosen_family(index: PluginIndex, name: str | None, path: str | None) -> ModelSpec:
    """The family of that name, or the only one there is, or the one that takes the model at ``path`` for its own.

    Raises PluginError if there is none or the choice is open, ModelFolderError for a folder that no family takes.
    """
    if name is not None:
        return index.model(name)
    if not index.models:
        raise PluginError("no model family is installed; install one, e.g. see `distill plugins list`")
    if len(index.models) == 1:
        return next(iter(index.models.values()))
    if path is None:
        names = sorted(index.models)
    else:
        takers = [spec for spec, _ in recognised(path, index, "is no pipeline of an installed family")]
        if len(takers) == 1:
            return takers[0]
        names = sorted(spec.name for spec in takers)
    raise PluginError(f"several model families may be meant; say which with --family: {', '.join(names)}")


@dataclass(frozen=True)
class ChosenModel:
    """A folder, as its family sees it under given options. No weight is loaded.

    Attributes:
        spec: the family.
        options: the family's options.
        facts: what the folder says under them.
    """

    spec: ModelSpec
    options: Options
    facts: ModelFacts

    @classmethod
    def of(cls, spec: ModelSpec, path: str, text_length: int | None = None) -> ChosenModel:
        """The model of a folder or a hub id, which attends ``text_length`` tokens; None leaves it to the folder.

        Raises ModelFolderError for a folder that is no model of the family, or records another length, PluginError for a family
        whose models have one length only.
        """
        facts = facts_of(spec, path)
        if text_length in (None, facts.text_length):
            return cls(spec, spec.options(), settled_facts(spec, facts, spec.options()))
        if TEXT_LENGTH not in spec.options.model_fields:
            raise PluginError(
                f"models of the family {spec.name!r} attend {facts.text_length} text tokens, not {text_length}; leave out --text-length"
            )
        options = spec.options.model_validate({TEXT_LENGTH: text_length})
        return cls(spec, options, settled_facts(spec, facts, options))

    def load(self) -> ModelPlugin:
        """The model, in float32, on the device of this process."""
        import torch

        device = device_of_process(os.environ)
        plugin: ModelPlugin = make_target(
            self.spec.build, f"model {self.spec.name!r}", self.facts, self.options, device, torch.float32
        )
        return plugin


def chosen_model(index: PluginIndex, family: str | None, path: str, text_length: int | None = None) -> ChosenModel:
    """The model at a path, of the family of that name, or of the one that takes it. Raises as the two above."""
    try:
        return ChosenModel.of(chosen_family(index, family, path), path, text_length)
    except ForeignPipelineError as refusal:
        names = owners(path, refusal, index)
        if not names:
            raise
        remedy = f"{' and '.join(names)} would take it: leave out --family, or say --family {names[0]}"
        raise ForeignPipelineError(f"{refusal}; {remedy}", refusal.what) from refusal
