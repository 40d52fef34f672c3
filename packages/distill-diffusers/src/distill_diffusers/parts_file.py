"""parts.json: a model whose denoisers come from other files than the rest of its pipeline. Imports no torch.

A folder with this file stands for the pipeline folder (or hub id) that it calls ``base``, with other weights::

    {"base": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "transformer": "wan2.1_t2v_1.3B_fp16.safetensors"}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_diffusers.json_files import read_object

PARTS = "parts.json"
BASE = "base"
PAGE = "docs/files.md"
LORA_FILES = ("adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.safetensors")
SINGLE_FILES = (".safetensors", ".sft", ".pth", ".pt", ".ckpt", ".bin", ".gguf")
READ = (".safetensors", ".sft", ".pth", ".pt", ".gguf")
"""The files of weights that are read, by the ends of their names."""


@dataclass(frozen=True)
class PartsFile:
    """What the file says.

    Attributes:
        base: the path or hub id of the pipeline that has the rest.
        denoisers: of a part, the file or folder that its weights are in.
    """

    base: str
    denoisers: Mapping[str, Path]


def read_parts(folder: Path, experts: Sequence[str]) -> PartsFile | None:
    """A folder's parts.json, or None where it has none; ``experts`` are the parts that may be named.

    Paths are from the folder on. Raises ModelFolderError for other keys, and for files that are not there or are not read.
    """
    file = folder / PARTS
    if not file.is_file():
        return None
    content = read_object(file)
    base = content.pop(BASE, None)
    if not isinstance(base, str) or not base:
        raise ModelFolderError(
            f"{file} names no {BASE}: the pipeline folder, or hub id, that has what it does not name"
        )
    unknown = [name for name in content if name not in experts]
    if unknown or not content:
        what = f"knows nothing called {', '.join(unknown)}" if unknown else "names no weights"
        raise ModelFolderError(
            f"{file} {what}; beside {BASE} it names the file or folder of {' or '.join(experts)}: every other part is the {BASE}'s"
        )
    denoisers = {name: _found(file, name, place) for name, place in content.items()}
    beside = folder / base
    return PartsFile(str(beside.resolve()) if beside.is_dir() else base, denoisers)


def _found(file: Path, name: str, named: object) -> Path:
    """What is named for a part: a file of weights, or a folder, of a pipeline the part's within it."""
    if not isinstance(named, str):
        raise ModelFolderError(f"{file}: {name} is no path, but {json.dumps(named)}")
    place = file.parent / Path(named).expanduser()
    if not place.exists():
        raise ModelFolderError(f"{file}: {name} is {named}, and {place} does not exist")
    if place.is_dir():
        inner = place / name
        found = inner if inner.is_dir() else place
        refuse_lora(found)
        return found
    if place.suffix not in READ:
        raise ModelFolderError(f"{file}: {name} is {named}, and weights are read from {', '.join(READ)} alone")
    return place


def refuse_lora(place: Path) -> None:
    """Raise ModelFolderError for a folder of a LoRA, which is no model."""
    held = [name for name in LORA_FILES if (place / name).is_file()]
    if held:
        raise ModelFolderError(
            f"{place} is a LoRA (it has {held[0]}), and no model; name the model that it was trained on, and the LoRA under "
            "fixed_loras: [{path: …}] of the role"
        )


def how_to_put_together(weights: str, part: str, base: str) -> str:
    """What to write for weights of a denoiser alone; ``base``: an example."""
    content = json.dumps({BASE: base, part: weights})
    return (
        f"it has none of the other parts: make a folder with the file {PARTS}, {content}, and name that folder ({PAGE})"
    )
