"""The LoRA that a role trained, as a file of its family's ecosystem."""

from __future__ import annotations

from pathlib import Path

import torch

from distill_core.errors import ConfigError, Problem
from distill_core.finished.restore import RestoredRole
from distill_core.plugins.loading import make_target
from distill_core.protocols.lora import LoraFiles
from distill_core.protocols.validator import ValidationRequest
from distill_core.running.loras import updates_of
from distill_core.terminal import remark


def write_lora(restored: RestoredRole, sampling: ValidationRequest, output: Path, dtype: torch.dtype) -> None:
    """Write it into a folder. Raises ConfigError for a role that trained none, or a family that has no files of them."""
    role = restored.role
    if role.lora is None:
        message = (
            f"role {role.name!r} trained all of its weights and no LoRA; leave this out, and a pipeline is written"
        )
        raise ConfigError([Problem("--lora", message)], "distill export")
    if not restored.lora_files:
        message = f"model {role.family!r} writes no LoRA files; leave this out, and a pipeline is written"
        raise ConfigError([Problem("--lora", message)], "distill export")
    files: LoraFiles = make_target(restored.lora_files, f"model {role.family!r}")
    files.write(updates_of(role.lora), restored.facts, sampling, restored.latent_shape, output, dtype)
    if len(role.worn) > 1:
        remark("note: it was trained over the role's fixed_loras, which are not in the file")
