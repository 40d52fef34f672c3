"""The contract that every model family keeps, as one call: :func:`check_model` on a tiny folder of the family. It trains nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from distill_core.plugins.specs import ModelSpec, Options
from distill_core.testing.findings import Findings
from distill_core.testing.models.encoding_rules import check_conditions, check_encoding
from distill_core.testing.models.export_rules import check_exports
from distill_core.testing.models.folder_rules import check_folder
from distill_core.testing.models.lora_rules import check_lora
from distill_core.testing.models.module_rules import check_modules
from distill_core.testing.models.part_rules import check_parts
from distill_core.testing.models.pixel_rules import check_pixels
from distill_core.testing.models.prediction_rules import check_declared, check_predictions
from distill_core.testing.models.sampling_rules import check_sampling
from distill_core.testing.models.subject import Subject, Tried

RULES: tuple[Callable[[Subject, Tried], None], ...] = (
    check_predictions,
    check_conditions,
    check_declared,
    check_parts,
    check_modules,
    check_lora,
    check_pixels,
    check_sampling,
    check_exports,
)
"""What is tried once a folder can be loaded and its clips encoded."""


@dataclass(frozen=True)
class ModelReport:
    """What the kit saw of a family that keeps its contract.

    Attributes:
        notes: what is no fault and yet worth knowing, e.g. a way of sampling that no pipeline can follow.
    """

    notes: tuple[str, ...]


def check_model(
    spec: ModelSpec,
    folder: str,
    options: Options | None = None,
    *,
    frames: tuple[int, int, int],
    close: float = 1e-4,
) -> ModelReport:
    """Try a family on a tiny folder of its own. Raises ContractError with every fault found, each with its remedy.

    ``frames``: F, H and W of clips that the folder takes, two latent frames at least where the family makes videos. ``close``: the
    relative difference between predictions that the order of sums explains. What the spec declares is tried; what it does not must be
    refused. The global random state is left alone.
    """
    findings = Findings(f"model {spec.name!r}")
    subject = Subject(spec, folder, spec.options() if options is None else options, frames, close)
    tried = Tried(findings)
    with torch.random.fork_rng(devices=[]):
        check_folder(subject, tried)
        check_encoding(subject, tried)
        if _predicts(subject, tried):
            for rules in RULES:
                rules(subject, tried)
    findings.raise_faults()
    return ModelReport(findings.notes)


def _predicts(subject: Subject, tried: Tried) -> bool:
    """Whether a role of the folder can be loaded and asked at all."""
    known = len(tried.findings.faults)
    with tried.rule("load and predict"):
        tried.expect(
            subject.velocity.shape == subject.noisy.shape,
            "load and predict",
            "a velocity has another shape than its latents",
        )
    return len(tried.findings.faults) == known
