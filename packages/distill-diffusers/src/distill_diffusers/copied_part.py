"""Copying a part of a pipeline folder into an export: the files that its format names, and nothing else that happens to lie there.

A folder from anywhere may hold code, pickles, notes, or a link to something private; an export is made to be passed on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from distill_core.errors import ModelFolderError
from distill_core.terminal import remark
from distill_diffusers.weights import STEMS, index_name, single_name, variant_of, weight_files

DESCRIPTIONS = frozenset({"config.json", "generation_config.json", "preprocessor_config.json"})
TOKENIZER = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "merges.txt",
        "sentencepiece.bpe.model",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    }
)
"""The files that transformers' tokenizers are saved as."""


def copy_part(part: Path, target: Path) -> None:
    """Copy a part, e.g. ``FOLDER/vae``; what is left out is said. Raises ModelFolderError for a link to something outside the folder."""
    names = named_files(part)
    target.mkdir()
    for name in names:
        copy_file(part / name, target / _without_variant(part, name), part.parent)
    others = sorted(path.name for path in part.iterdir() if path.name not in names)
    if others:
        shown = ", ".join(others[:8]) + (f" and {len(others) - 8} more" if len(others) > 8 else "")
        remark(f"{part}: not of its format, and not copied: {shown}")


def named_files(part: Path) -> list[str]:
    """The names of the files that the format of a part knows and the part has: JSON, the tokenizer's, the weights that are loaded."""
    names = {name for name in DESCRIPTIONS | TOKENIZER if (part / name).is_file()}
    for library in STEMS:
        variant = variant_of(part, library)
        index, single = part / index_name(library, variant), part / single_name(library, variant)
        if index.is_file() or single.is_file():
            files = weight_files(part, library)
            if any(file.parent != part or file.name == ".." for file in files):
                raise ModelFolderError(f"{index} names files outside {part}; fetch the folder again")
            names |= {file.name for file in files}
            names |= {index.name} if index.is_file() else set()
    return sorted(names)


def _without_variant(part: Path, name: str) -> str:
    """The name that a file has in an export, which is loaded without naming a variant."""
    for library in STEMS:
        variant = variant_of(part, library)
        for called in (single_name, index_name):
            if variant is not None and name == called(library, variant):
                return called(library)
    return name


def copy_licences(folder: Path, target: Path) -> None:
    """The licence of the model, which goes wherever the model goes."""
    for licence in sorted(folder.glob("LICENSE*")):
        if licence.is_file():
            copy_file(licence, target / licence.name, folder)


def copy_file(source: Path, target: Path, model: Path) -> None:
    """Copy a file's content. Weights may be a link to anywhere: they are read as such; anything else only to what is the model's own."""
    if source.is_symlink() and source.suffix != ".safetensors" and not _own(source, model):
        raise ModelFolderError(
            f"{source} is a link to {source.resolve()}, which is none of the model's files and would be passed on; put the file there"
        )
    shutil.copyfile(source, target)


def _own(link: Path, model: Path) -> bool:
    """Whether a link leads into the model's folder or, of a snapshot of the Hub, into the cache of the same repository."""
    place = model.absolute()
    home = place.parent.parent if place.parent.name == "snapshots" else place
    return link.resolve().is_relative_to(home.resolve())
