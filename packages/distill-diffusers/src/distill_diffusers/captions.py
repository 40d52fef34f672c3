"""Captions through a pipeline's own text encoders, which are loaded with the first and can be let go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import version
from typing import Any

import torch

from distill_diffusers.conditions import CaptionTensors
from distill_diffusers.facts import DiffusersFacts
from distill_diffusers.loading import load_part, load_tokenizer

TextParts = Mapping[str, Any]
"""Tokenizers and text encoders by the pipeline's names. ``Any``: the classes of the libraries have no common type."""

EncodePrompt = Callable[[TextParts, str, int], CaptionTensors]
"""(parts, caption, padded length) to the caption's tensors, as the family's pipeline makes them."""


class CaptionEncoder:
    """One caption at a time, so that no caption's numbers depend on its neighbours."""

    def __init__(
        self, facts: DiffusersFacts, encode: EncodePrompt, length: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.facts = facts
        self.length = length
        self.device = device
        self.dtype = dtype
        self._encode = encode
        self._last: tuple[str, CaptionTensors] | None = None

    def _named(self, *, weights: bool) -> list[str]:
        parts = self.facts.folder.parts
        return [
            name for name in self.facts.folder.kind.text_parts if name in parts and parts[name].has_weights == weights
        ]

    @cached_property
    def tokenizers(self) -> TextParts:
        """The folder's tokenizers."""
        return {name: load_tokenizer(self.facts, name) for name in self._named(weights=False)}

    @cached_property
    def encoders(self) -> TextParts:
        """The folder's text encoders, on the device."""
        loaded = {name: load_part(self.facts, name, self.dtype) for name in self._named(weights=True)}
        return {name: encoder.to(self.device).eval().requires_grad_(False) for name, encoder in loaded.items()}

    @property
    def key(self) -> str:
        """What a caption's numbers follow from: the files of tokenizers and text encoders, by size and time, and how they are used."""
        parts = [self.facts.path / name for name in self.facts.folder.kind.text_parts]
        files = sorted(file for part in parts for file in part.rglob("*") if file.is_file())
        stated = [
            (str(file.relative_to(self.facts.path)), file.stat().st_size, file.stat().st_mtime_ns) for file in files
        ]
        used = (self.length, str(self.dtype), self.device.type, torch.__version__, version("transformers"))
        return repr((str(self.facts.path), stated, used))

    def count(self, caption: str) -> int:
        """The tokens of a cleaned caption by the first tokenizer, its end included, before it is cut."""
        return len(next(iter(self.tokenizers.values()))(caption, verbose=False).input_ids)

    def release(self) -> None:
        """Let the text encoders go; the next caption loads them again."""
        self.__dict__.pop("encoders", None)

    @torch.no_grad()
    def __call__(self, caption: str) -> CaptionTensors:
        """One caption as float32 tensors on the CPU, its own tokens only, cut at the padded length. The last one is remembered."""
        if self._last is None or self._last[0] != caption:
            made = self._encode({**self.tokenizers, **self.encoders}, caption, self.length)
            self._last = caption, {name: tensor.detach().float().cpu() for name, tensor in made.items()}
        return self._last[1]
