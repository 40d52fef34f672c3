"""Code that a model's folder brings, or has fetched from elsewhere: none of it is run, and a folder that counts on it is refused by name.

Reads JSON; imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_core.errors import ModelFolderError
from distill_diffusers.json_files import read_object

DESCRIPTIONS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "generation_config.json")
ATTENTION_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
OWN_ATTENTION = (None, "eager", "sdpa")
"""Attention that comes with the libraries; any other name is a package, or a kernel that transformers would fetch and run."""
EXPERTS_KEYS = ("experts_implementation", "_experts_implementation", "_experts_implementation_internal")
OWN_EXPERTS = (None, "eager", "batched_mm", "grouped_mm")
"""How mixtures of experts are computed by the libraries themselves."""


def refuse_code(part: Path) -> None:
    """Raise ModelFolderError for a part whose JSON asks, at any depth, for code that comes with the folder, or from the Hub."""
    for file in (part / name for name in DESCRIPTIONS if (part / name).is_file()):
        for content in _objects(read_object(file)):
            if "auto_map" in content:
                raise ModelFolderError(
                    f"{file} brings code of its own (auto_map), and distill runs none that comes with a model; name a folder whose classes "
                    "are those of diffusers and transformers"
                )
            _refuse_kernels(file, content, ATTENTION_KEYS, OWN_ATTENTION, "attention")
            _refuse_kernels(file, content, EXPERTS_KEYS, OWN_EXPERTS, "experts")


def _refuse_kernels(
    file: Path, content: Mapping[str, Any], keys: Sequence[str], own: Sequence[str | None], what: str
) -> None:
    for key in keys:
        if content.get(key) not in own:
            raise ModelFolderError(
                f"{file} asks for the {what} {content[key]!r}, which would be fetched or is a package of its own; remove {key}"
            )


def _objects(content: object) -> Iterator[Mapping[str, Any]]:
    """Every object of a JSON file: a model of several, e.g. of texts and pictures, has the config of each inside its own."""
    waiting = [content]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
