"""Code that a model's folder brings, or has fetched from elsewhere: none of it is run, and a folder that counts on it is refused by name.

Reads JSON; imports no torch.
"""

from __future__ import annotations

from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_diffusers.json_files import read_object

DESCRIPTIONS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "generation_config.json")
ATTENTION_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
OWN_ATTENTION = (None, "eager", "sdpa")
"""Attention that comes with the libraries; any other name is a package, or a kernel that transformers would fetch and run."""


def refuse_code(part: Path) -> None:
    """Raise ModelFolderError for a part whose JSON asks for code that comes with the folder, or from the Hub."""
    for file in (part / name for name in DESCRIPTIONS if (part / name).is_file()):
        content = read_object(file)
        if "auto_map" in content:
            raise ModelFolderError(
                f"{file} brings code of its own (auto_map), and distill runs none that comes with a model; name a folder whose classes "
                "are those of diffusers and transformers"
            )
        for key in ATTENTION_KEYS:
            if content.get(key) not in OWN_ATTENTION:
                raise ModelFolderError(
                    f"{file} asks for the attention {content[key]!r}, which would be fetched or is a package of its own; remove {key}"
                )
