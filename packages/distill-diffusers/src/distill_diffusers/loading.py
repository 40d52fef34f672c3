"""Loading one part of a pipeline folder by its class's ``from_pretrained``, which would fill what is missing with random numbers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from transformers import AutoTokenizer, CLIPImageProcessorPil, PreTrainedTokenizerBase

from distill_core.errors import ModelFolderError
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.weightless import is_weightless
from distill_core.protocols.model import Later
from distill_core.training.sharding import blocks_of
from distill_diffusers.empty_parts import AnyTokenizer, empty_part
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.foreign_code import refuse_code
from distill_diffusers.foreign_loading import deferred_tensors, load_foreign
from distill_diffusers.quiet import quietly
from distill_diffusers.unread_part import unread_part

# ``Any`` below: the classes of diffusers and transformers have no common type.


def load_tokenizer(facts: DiffusersFacts, part: str = "tokenizer") -> PreTrainedTokenizerBase | AnyTokenizer:
    """A tokenizer of the folder, fetched first where it is a hub's; none of its own code is run. Raises ModelFolderError.

    Where all is weightless and it is not there, one that makes every caption as long as it may be.
    """
    place = facts.path / part
    facts.folder.fetch(part)
    refuse_code(place)
    if is_weightless() and not place.is_dir():
        return AnyTokenizer()
    try:
        with plugin_border():  # its files go to a library of another language, which raises anything
            return AutoTokenizer.from_pretrained(place, trust_remote_code=False, local_files_only=True)
    except RefusedError as refusal:
        raise ModelFolderError(
            f"{place} cannot be loaded as a tokenizer: {refusal.reason}; fetch the folder again"
        ) from refusal


def load_image_processor(facts: DiffusersFacts, part: str = "image_processor") -> Any:
    """What prepares pictures for an image encoder, fetched first where it is a hub's; through Pillow. Raises ModelFolderError."""
    place = facts.path / part
    facts.folder.fetch(part)
    facts.folder.check_part(part)
    try:
        with plugin_border():
            return CLIPImageProcessorPil.from_pretrained(place, local_files_only=True)
    except RefusedError as refusal:
        raise ModelFolderError(
            f"{place} cannot be loaded as an image processor: {refusal.reason}; fetch the folder again"
        ) from refusal


def load_part(
    facts: DiffusersFacts, part: str, dtype: torch.dtype, kind: Any = None, later: Later | None = None
) -> Any:
    """A network with the weights of ``part``, fetched first where it is a hub's; ``kind`` is its class, by default the folder's own.

    Where all is weightless, an empty one. ``later`` is given the blocks of one that can be, or could be, read block by block.

    Raises ModelFolderError for weights that are not those of config.json.
    """
    kind = part_class(facts, part) if kind is None else kind
    place = facts.folder.described_in(part)
    facts.folder.fetch(part)
    facts.folder.check_part(part)
    if is_weightless():
        empty = empty_part(place, kind, dtype)
        if later is not None:
            for block in blocks_of(empty):
                later(block, lambda: None)
        return empty
    facts.folder.check_bytes(part)
    stored, called = facts.folder.stored(part), facts.folder.called(part)
    if later is not None and (found := deferred_tensors(stored, called)) is not None:
        return unread_part(stored, called, found, kind, dtype, later)
    if not stored.plain:
        return load_foreign(stored, called, kind, dtype)
    # from_pretrained draws initial values before it reads the real ones: the global random state is put back.
    with quietly(), torch.random.fork_rng(devices=[]):
        try:
            with plugin_border():  # a config that is damaged may raise anything
                model, found = kind.from_pretrained(
                    place, dtype=dtype, variant=stored.variant, use_safetensors=True, output_loading_info=True
                )
        except RefusedError as refusal:
            reason = refusal.reason.strip().partition("\n")[0]
            raise ModelFolderError(
                f"{place} cannot be loaded as a {kind.__name__}: {reason}; fetch the folder again"
            ) from refusal
    if found["missing_keys"]:  # a version of the class that has tensors which published folders lack
        missing = ", ".join(sorted(found["missing_keys"]))
        raise ModelFolderError(
            f"{place} lacks {missing}, which the installed {kind.__name__} has; install another diffusers or transformers, or fetch "
            "the folder again"
        )
    return model


def part_class(facts: DiffusersFacts, part: str) -> Any:
    """The class that model_index.json names. Raises ModelFolderError where the installed library has none of that name."""
    found = facts.folder.parts[part]
    try:
        return getattr(import_module(found.library), found.class_name)
    except AttributeError as error:
        raise ModelFolderError(
            f"{facts.path}: its {part} is a {found.class_name}, which the installed {found.library} has not; upgrade it"
        ) from error
