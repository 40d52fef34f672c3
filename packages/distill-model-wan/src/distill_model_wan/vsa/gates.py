"""The gates of the coarse branch: a linear layer per block, named as in published checkpoints, 0 where there is none yet."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import WanTransformer3DModel
from safetensors import safe_open
from torch import Tensor, nn

from distill_core.errors import ModelFolderError
from distill_core.plugins.weightless import is_weightless
from distill_diffusers.pipeline_folder import PipelineFolder
from distill_diffusers.stored_names import plain

GATE = "to_gate_compress"


def gate_names(blocks: int) -> list[str]:
    """The tensors of a transformer's gates."""
    return [f"blocks.{block}.{GATE}.{part}" for block in range(blocks) for part in ("weight", "bias")]


def read_gates(folder: PipelineFolder, part: str) -> dict[str, Tensor]:
    """The tensors of the gates that a transformer is stored with; empty for one that was trained without."""
    found: dict[str, Tensor] = {}
    if is_weightless():
        return found
    for file in (file for file in folder.stored(part).files if file.suffix == ".safetensors"):
        with safe_open(file, framework="pt") as tensors:
            stored = tensors.keys()
            names = plain({name: name for name in stored}).tensors
            found |= {name: tensors.get_tensor(kept) for name, kept in names.items() if f".{GATE}." in name}
    return found


def attach_gates(transformer: WanTransformer3DModel, stored: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Give every block its gate: from ``stored``, or zeros, with which attention starts as it was (appendix C.5 of the paper).

    Raises ModelFolderError for a part of the gates, or of another width.
    """
    config = transformer.config
    width = config.num_attention_heads * config.attention_head_dim
    names = gate_names(len(transformer.blocks))
    missing = [name for name in names if name not in stored]
    if stored and missing:
        raise ModelFolderError(
            f"the weights hold {len(stored)} tensors of vsa gates and lack {missing[0]}; fetch them again"
        )
    device = transformer.patch_embedding.weight.device
    for index, block in enumerate(transformer.blocks):
        gate = nn.Linear(width, width, device="meta", dtype=dtype).to_empty(device=device)
        with torch.no_grad():
            for part, parameter in gate.named_parameters():
                name = f"blocks.{index}.{GATE}.{part}"
                if name not in stored:
                    parameter.zero_()
                elif stored[name].shape != parameter.shape:
                    raise ModelFolderError(
                        f"{name} has the shape {list(stored[name].shape)}, the model's width calls for {list(parameter.shape)}"
                    )
                else:
                    parameter.copy_(stored[name])
        block.register_module(GATE, gate)
