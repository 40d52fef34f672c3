"""The gates of the coarse branch: a linear layer per block, named as in published checkpoints, 0 where there is none yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from distill_core.errors import ModelFolderError
from distill_core.plugins.weightless import is_weightless
from distill_diffusers.pipeline_folder import PipelineFolder
from distill_diffusers.stored_names import plain

GATE = "to_gate_compress"


def gate_names(blocks: int, within: str = "blocks") -> list[str]:
    """The tensors of the gates of so many blocks; ``within`` is the denoiser's name for their list."""
    return [f"{within}.{block}.{GATE}.{part}" for block in range(blocks) for part in ("weight", "bias")]


def read_gates(folder: PipelineFolder, part: str) -> dict[str, Tensor]:
    """The tensors of the gates that a denoiser is stored with; empty for one that was trained without."""
    found: dict[str, Tensor] = {}
    if is_weightless():
        return found
    for file in (file for file in folder.stored(part).files if file.suffix == ".safetensors"):
        with safe_open(file, framework="pt") as tensors:
            stored = tensors.keys()
            names = plain({name: name for name in stored}).tensors
            found |= {name: tensors.get_tensor(kept) for name, kept in names.items() if f".{GATE}." in name}
    return found


def attach_gates(denoiser: Any, stored: Mapping[str, Tensor], dtype: torch.dtype, within: str = "blocks") -> None:
    """Give every block its gate: from ``stored``, or zeros, with which attention starts as it was (appendix C.5 of the paper).

    Raises ModelFolderError for a part of the gates, or of another width. ``Any``: diffusers' denoisers have no common type.
    """
    width = denoiser.config.num_attention_heads * denoiser.config.attention_head_dim
    blocks, device = denoiser.get_submodule(within), next(denoiser.parameters()).device
    missing = [name for name in gate_names(len(blocks), within) if name not in stored]
    if stored and missing:
        raise ModelFolderError(
            f"the weights hold {len(stored)} tensors of vsa gates and lack {missing[0]}; fetch them again"
        )
    for index, block in enumerate(blocks):
        gate = nn.Linear(width, width, device="meta", dtype=dtype).to_empty(device=device)
        with torch.no_grad():
            for part, parameter in gate.named_parameters():
                name = f"{within}.{index}.{GATE}.{part}"
                if name not in stored:
                    parameter.zero_()
                elif stored[name].shape != parameter.shape:
                    raise ModelFolderError(
                        f"{name} has the shape {list(stored[name].shape)}, the model's width calls for {list(parameter.shape)}"
                    )
                else:
                    parameter.copy_(stored[name])
        block.register_module(GATE, gate)
