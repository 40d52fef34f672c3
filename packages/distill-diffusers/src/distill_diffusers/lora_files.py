"""LoRA files as the ecosystem has them: diffusers' and peft's are read here, those of other trainers by diffusers' own converters.

Written is what ``load_lora_weights`` of the pipeline reads, each update's scale within its B: every reader takes a scale of 1 where a file
says none.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distill_core.errors import ModelFolderError, RunDirectoryError
from distill_core.plugins import ModelFacts
from distill_core.protocols import ValidationRequest
from distill_core.protocols.lora import LoraFiles, LoraUpdates, LowRankUpdate
from distill_diffusers.facts import DiffusersFacts, diffusers_facts
from distill_diffusers.lora_layers import linear_layers
from distill_diffusers.quiet import quietly

FILE = "pytorch_lora_weights.safetensors"
"""diffusers' name; a second expert's file has a 2 before the dot."""
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
A, B = ".lora_A.weight", ".lora_B.weight"
PEFT_PREFIX = "base_model.model."
OWN_PREFIX = "transformer."
"""What diffusers' keys begin with, whichever denoiser they are loaded into."""
_METADATA = "lora_adapter_metadata"


class DiffusersLora:
    """The :class:`distill_core.protocols.lora.LoraFiles` of families of diffusers pipelines."""

    def read(self, path: Path, facts: ModelFacts, part: str | None = None) -> LoraUpdates:
        """A file, or those of a folder. ``part``: the denoiser that a file is of; None is the first, and of a folder all that it names."""
        known = diffusers_facts(facts)
        if part is not None and part not in known.experts:
            raise ModelFolderError(f"{path}: the model has no {part!r}; it has {', '.join(known.experts)}")
        if path.is_dir() and part is None:
            files = {expert: path / file_of(expert, known) for expert in known.experts}
            if all(file.is_file() for file in files.values()) and len(files) > 1:
                return {name: each for expert, file in files.items() for name, each in _read(file, known, expert)}
        return dict(_read(_file_in(path), known, known.experts[0] if part is None else part))

    def write(
        self,
        updates: LoraUpdates,
        base: ModelFacts,
        sampling: ValidationRequest,
        latent_shape: tuple[int, int, int, int],
        output: Path,
        dtype: torch.dtype,
    ) -> None:
        """A folder with a file for each denoiser that has updates, and how to load it.

        Raises ModelFolderError for layers that the pipeline's own denoisers have not, RunDirectoryError if ``output`` is taken.
        """
        known = diffusers_facts(base)
        own = linear_layers(base)
        strangers = [] if own is None else sorted(set(updates) - set(own))
        if strangers:
            raise ModelFolderError(
                f"the LoRA reaches {strangers[0]}, which diffusers' own model has not; export without --lora, which merges it"
            )
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise RunDirectoryError(
                f"{output} already holds something; name another folder for the export, or remove it"
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as beside:
            folder = Path(beside) / "lora"
            folder.mkdir()
            written = [
                expert for expert in known.experts if _write(updates, expert, folder / file_of(expert, known), dtype)
            ]
            (folder / "README.md").write_text(_card(known, sampling, latent_shape, written), encoding="utf-8")
            os.replace(folder, output)


def file_of(expert: str, facts: DiffusersFacts) -> str:
    """The file of a denoiser's updates."""
    number = facts.experts.index(expert)
    return FILE if number == 0 else FILE.replace(".", f"_{number + 1}.")


def _write(updates: LoraUpdates, expert: str, file: Path, dtype: torch.dtype) -> bool:
    tensors: dict[str, Tensor] = {}
    for name, update in updates.items():
        part, _, layer = name.partition(".")
        if part == expert:
            tensors[f"{OWN_PREFIX}{layer}{A}"] = update.a.to(dtype).contiguous()
            tensors[f"{OWN_PREFIX}{layer}{B}"] = (update.b.float() * update.scale).to(dtype).contiguous()
    if tensors:
        save_file(tensors, file, metadata={"format": "pt"})
    return bool(tensors)


def _file_in(path: Path) -> Path:
    """The LoRA file that a path means. Raises ModelFolderError for a folder with none, or with several."""
    if not path.is_dir():
        return path
    for name in (FILE, PEFT_FILE):
        if (path / name).is_file():
            return path / name
    found = sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        raise ModelFolderError(f"{path} holds {len(found) or 'no'} .safetensors files; name the LoRA file itself")
    return found[0]


def _read(file: Path, facts: DiffusersFacts, part: str) -> list[tuple[str, LowRankUpdate]]:
    tensors, metadata = _tensors(file)
    if any("dora_scale" in name or "lora_magnitude" in name for name in tensors):
        raise ModelFolderError(f"{file} is a DoRA, which rescales whole weights; only plain LoRAs are read")
    if any(name.startswith(PEFT_PREFIX) for name in tensors):
        plain = {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in tensors.items()}
        config: dict[str, Any] = _peft_config(file)
    else:
        plain = _without_prefix(_converted(tensors, file, facts), part)
        config = {} if _METADATA not in metadata else _own_config(json.loads(metadata[_METADATA]), part)
    names = sorted({name.removesuffix(A).removesuffix(B) for name in plain})
    whole = all(f"{name}{end}" in plain for name in names for end in (A, B))
    if not names or not whole or len(plain) != 2 * len(names):
        odd = next((name for name in plain if not name.endswith((A, B))), "nothing")
        raise ModelFolderError(
            f"{file} holds more or less than low-rank updates of linear layers ({odd}); only those are read"
        )
    pairs = {name: (plain[f"{name}{A}"], plain[f"{name}{B}"]) for name in names}
    for name, (a, b) in pairs.items():
        if not (a.dim() == b.dim() == 2 and 0 < len(a) == b.shape[1]):
            raise ModelFolderError(
                f"{file}: the update of {name} is of A {list(a.shape)} and B {list(b.shape)}, no two matrices of one rank; only updates "
                "of linear layers are read"
            )
    return [(f"{part}.{name}", LowRankUpdate(a, b, _scale(config, name, a))) for name, (a, b) in pairs.items()]


def _tensors(file: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    try:
        with safe_open(file, framework="pt") as stored:
            names, metadata = stored.keys(), stored.metadata()
            return {name: stored.get_tensor(name) for name in names}, {} if metadata is None else metadata
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(f"{file} is no safetensors file, or is damaged: {error}; fetch it again") from error


def _converted(tensors: Mapping[str, Tensor], file: Path, facts: DiffusersFacts) -> dict[str, Tensor]:
    """The keys of other trainers as diffusers' own. Raises ModelFolderError for what it does not know."""
    if all(name.startswith(OWN_PREFIX) and name.endswith((A, B)) for name in tensors):
        return dict(tensors)
    pipeline = getattr(diffusers, facts.folder.kind.pipeline)
    try:
        with quietly():
            converted: dict[str, Tensor] = pipeline.lora_state_dict(dict(tensors))
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelFolderError(f"{file} is no LoRA that {pipeline.__name__} reads: {error}") from error
    return converted


def _without_prefix(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The keys of one denoiser, without its name: diffusers calls each "transformer"; a file may name the denoiser itself."""
    prefix = f"{part}." if any(name.startswith(f"{part}.") for name in tensors) else OWN_PREFIX
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _peft_config(file: Path) -> dict[str, Any]:
    place = file.parent / PEFT_CONFIG
    try:
        config: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(
            f"{file} is peft's, and its {PEFT_CONFIG}, which says its scale, cannot be read: {error}"
        ) from error
    if config.get("use_dora"):
        raise ModelFolderError(f"{file} is a DoRA, which rescales whole weights; only plain LoRAs are read")
    return config


def _own_config(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    prefix = f"{part}." if any(key.startswith(f"{part}.") for key in config) else OWN_PREFIX
    return {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}


def _scale(config: Mapping[str, Any], layer: str, a: Tensor) -> float:
    """alpha / rank as peft has it; 1 where a file says none."""
    alpha, patterns = config.get("lora_alpha"), config.get("alpha_pattern")
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        if layer == pattern or layer.endswith(f".{pattern}"):
            alpha = value
    if alpha is None:
        return 1.0
    rank = len(a)
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _card(
    facts: DiffusersFacts, sampling: ValidationRequest, latent_shape: tuple[int, int, int, int], written: list[str]
) -> str:
    frames, height, width = facts.latent_space.pixels(latent_shape)
    name = facts.folder.hub_id or facts.path.name
    base = json.dumps(facts.folder.hub_id or str(facts.path.resolve()), ensure_ascii=False)
    loads = "\n".join(
        f'pipe.load_lora_weights(folder, weight_name="{file_of(expert, facts)}", adapter_name="{expert}"'
        + (", load_into_transformer_2=True)" if expert != facts.experts[0] else ")")
        for expert in written
    )
    steps = (
        f"the timesteps {', '.join(f'{each:g}' for each in sampling.timesteps)}"
        if sampling.timesteps
        else f"{sampling.steps} steps"
    )
    return f"""---
library_name: diffusers
tags: [distill, lora]
---

# A LoRA of {name}

It was trained at {frames} frames of {width} x {height}, to be sampled at {steps} ({sampling.sampler or "ode"}) with a guidance scale of
{1.0 if sampling.guidance_scale is None else sampling.guidance_scale:g}. The pipeline's own scheduler does not know these steps:
`distill export` without `--lora` writes a whole pipeline whose scheduler does.

```python
from diffusers import {facts.folder.kind.pipeline}

folder = "."  # this folder, or its id on the Hub
pipe = {facts.folder.kind.pipeline}.from_pretrained({base})
{loads}
```
"""


def _keeps_the_contract(files: DiffusersLora) -> LoraFiles:
    """Read by mypy only."""
    return files
