"""LoRA files of the toy family: tensors of torch's own format."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from distill_core.errors import ModelFolderError
from distill_core.plugins.specs import ModelFacts
from distill_core.protocols.lora import LoraFiles, LoraUpdates, LowRankUpdate
from distill_core.protocols.validator import ValidationRequest

FILE = "lora.pt"


class ToyLoraFiles:
    """The :class:`distill_core.protocols.lora.LoraFiles` of the toy."""

    def read(self, path: Path, facts: ModelFacts, part: str | None = None) -> LoraUpdates:
        """A file, or that of a folder."""
        file = path / FILE if path.is_dir() else path
        try:
            content = torch.load(file, weights_only=True)
            return {name: LowRankUpdate(a, b, scale) for name, (a, b, scale) in content.items()}
        except (OSError, ValueError, AttributeError, TypeError, pickle.UnpicklingError) as error:
            raise ModelFolderError(f"{file} holds no LoRA of the toy") from error

    def write(
        self,
        updates: LoraUpdates,
        base: ModelFacts,
        sampling: ValidationRequest,
        latent_shape: tuple[int, int, int, int],
        output: Path,
        dtype: torch.dtype,
    ) -> None:
        """One file."""
        output.mkdir(parents=True)
        content = {name: (each.a.to(dtype), each.b.to(dtype), each.scale) for name, each in updates.items()}
        torch.save(content, output / FILE)


def _keeps_the_contract(files: ToyLoraFiles) -> LoraFiles:
    """Read by mypy only."""
    return files
