"""Parts of a pipeline from their config.json alone: the modules, shapes and dtypes that loading would give, of undefined content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from distill_diffusers.quiet import quietly

# ``Any`` below: the classes of diffusers and transformers have no common type.


def empty_part(place: Path, kind: Any, dtype: torch.dtype) -> Any:
    """The network that ``kind.from_pretrained`` would load from ``place`` in ``dtype``; the global random state is left alone."""
    with quietly(), torch.random.fork_rng(devices=[]):
        if issubclass(kind, ModelMixin):
            made = kind.from_config(kind.load_config(place, local_files_only=True))
            exact = made._keep_in_fp32_modules
        else:
            usual = torch.get_default_dtype()
            torch.set_default_dtype(dtype)
            try:
                made = kind(kind.config_class.from_pretrained(place, local_files_only=True))
            finally:
                torch.set_default_dtype(usual)
            exact = made._keep_in_fp32_modules_strict
    assert isinstance(made, nn.Module)
    _hold(made, dtype, tuple(exact or ()))
    return made.eval()


def _hold(module: nn.Module, dtype: torch.dtype, exact: tuple[str, ...]) -> None:
    """Give parameters and buffers of floating point the dtype, but for those under one of the names ``exact``; shared ones stay shared."""
    held: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}
    stored = module.state_dict().keys()
    for prefix, part in module.named_modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            wanted = torch.float32 if _within(f"{prefix}.{name}", exact) else dtype
            if id(parameter) not in held:
                held[id(parameter)] = parameter, nn.Parameter(parameter.detach().to(wanted))
            part.register_parameter(name, held[id(parameter)][1])
        for name, buffer in list(part.named_buffers(recurse=False)):
            if buffer.is_floating_point() and f"{prefix}.{name}".removeprefix(".") in stored:
                part.register_buffer(name, buffer.to(dtype))


def _within(name: str, exact: tuple[str, ...]) -> bool:
    return any(each in name.split(".") for each in exact)


@dataclass(frozen=True)
class TokenizedCaption:
    """What a tokenizer gives, of the longest caption.

    Attributes:
        input_ids: [1, L].
        attention_mask: [1, L].
    """

    input_ids: Tensor
    attention_mask: Tensor


class AnyTokenizer:
    """Takes every caption for the longest that there may be."""

    def __call__(self, captions: object, *, max_length: int = 1, **_: object) -> TokenizedCaption:
        """As transformers' tokenizers are called."""
        ones_1L = torch.ones((1, max_length), dtype=torch.int64)
        return TokenizedCaption(ones_1L, ones_1L)

    def apply_chat_template(self, talks: object, *, max_length: int = 1, **_: object) -> TokenizedCaption:
        """Of captions within a template."""
        return self(talks, max_length=max_length)
