"""Rules for exports: whole or refused, the family's own folder again, and sampled from there as the role was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from distill_core.errors import ModelFolderError
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.testing.models.sampling_rules import REQUESTS, sampled
from distill_core.testing.models.subject import CAPTIONS, Subject, Tried
from distill_core.training.roles import RoleHandle


def check_exports(subject: Subject, tried: Tried) -> None:
    """Every way of sampling is exported, or refused with nothing written."""
    for name in REQUESTS:
        with tried.rule(f"export ({name})"), TemporaryDirectory() as place:
            _check_export(subject, name, Path(place) / "export", tried)


def _check_export(subject: Subject, name: str, output: Path, tried: Tried) -> None:
    rule, asked = f"export ({name})", replace(REQUESTS[name], prompts=CAPTIONS[:1], seeds=(3,))
    role = subject.loaded(subject.model, subject.facts, trainable=True)
    with torch.no_grad():
        for parameter in role.trained_parameters().values():
            parameter.mul_(1.05)
    weights = {key: tensor.clone() for key, tensor in role.container.state_dict().items()}
    if not _written(subject, role, name, output, tried):
        return
    tried.expect(
        all(torch.equal(tensor, weights[key]) for key, tensor in role.container.state_dict().items()),
        rule,
        "exporting changes the role's weights; a run goes on with them",
    )
    facts = subject.spec.settle(subject.inspect(str(output)), subject.options)
    tried.expect(
        facts.latent_shape == subject.shape and facts.sampling is not None,
        rule,
        f"the exported folder says sampling {facts.sampling}, latent_shape {facts.latent_shape}; record both, so that it is sampled so",
    )
    tried.expect(
        facts.latent_space == subject.facts.latent_space, rule, "the exported folder is of another latent space"
    )
    if facts.sampling is not None:
        tried.expect(
            asked.timesteps in (None, facts.sampling.timesteps)
            and facts.sampling.guidance_scale == asked.guidance_scale,
            rule,
            f"the exported folder records {facts.sampling}, which is not what was asked for: {asked}",
        )
    model = subject.built(facts)
    back = subject.loaded(model, facts)
    theirs = list(model.sampler.sample(back, subject.shown(asked), subject.shape))
    levels = [
        int((mine.frames.int() - other.frames.int()).abs().max())
        for mine, other in zip(sampled(subject, role, asked), theirs, strict=True)
    ]
    tried.expect(
        max(levels) <= 1,
        rule,
        f"sampled from the export, videos are up to {max(levels)} levels of 255 off the role's own",
    )


def _written(subject: Subject, role: RoleHandle, name: str, output: Path, tried: Tried) -> bool:
    """Whether there is an export to look at; a refusal of the right kind is none, and no fault."""
    rule, asked = f"export ({name})", replace(REQUESTS[name], prompts=CAPTIONS[:1], seeds=(3,))
    try:
        with plugin_border():
            subject.model.export(role.modules, subject.facts, asked, subject.shape, output, torch.float32)
    except RefusedError as refusal:
        if not isinstance(refusal.__cause__, ModelFolderError):
            tried.findings.fault(
                rule, f"export raises {refusal.reason}; refuse what no pipeline can follow by a ModelFolderError"
            )
        tried.expect(
            not output.exists(), rule, "a refused export leaves something behind; settle everything before writing"
        )
        tried.findings.note(f"no pipeline can follow {name}: {refusal.reason}")
        return False
    return True
