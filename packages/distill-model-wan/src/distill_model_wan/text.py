"""Captions as the transformer attends them: zero-padded to a fixed length, with the padding folded into a few tokens.

Wan pads a caption's embeddings with zeros to a fixed length (512) and attends the padding. All padding tokens of a sample have the
same key and value, so one token whose attention logit is raised by log n does the work of n of them, exactly:
n exp(q·k) = exp(q·k + log n).

B batch, L attended tokens, D width of the text encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from distill_core.protocols import Condition
from distill_core.transfer import to_device
from distill_model_wan.pictures import Pictures

_FOLDED = 2
"""Tokens that stand for the folded padding. One would do in float32; in bfloat16, log n is off by up to 1.6 %, and a second token
holds what rounding took from the first."""

_MULTIPLE = 8
"""The attended length is a multiple of this: attention kernels on GPUs prefer it, and fewer lengths occur."""


@dataclass(frozen=True)
class WanText:
    """The captions of a batch; a :class:`distill_core.protocols.Condition`.

    Attributes:
        embeds_BLD: float32, zero beyond each caption's own tokens.
        pad_bias_L: what is added to the attention logit of each token, or None where every padding token is there.
        pictures: what the samples are shown besides, or None.
    """

    embeds_BLD: Tensor
    pad_bias_L: Tensor | None
    pictures: Pictures | None = None

    def __len__(self) -> int:
        """The batch size B."""
        return self.embeds_BLD.shape[0]

    def select(self, rows: Tensor) -> WanText:
        """The captions at ``rows`` (indices)."""
        pictures = None if self.pictures is None else self.pictures.select(rows)
        return WanText(self.embeds_BLD[rows], self.pad_bias_L, pictures)

    def repeated(self, size: int) -> WanText:
        """One caption as a batch of ``size``, without copies."""
        pictures = None if self.pictures is None else self.pictures.repeated(size)
        return WanText(self.embeds_BLD.expand(size, -1, -1), self.pad_bias_L, pictures)


@dataclass(frozen=True)
class TextPacking:
    """How captions become a :class:`WanText`.

    Attributes:
        length: the padded length, in tokens.
        fold: whether to fold the padding.
        logit_dtype: the dtype of attention, in which the bias will be added.
        device: where the batch lives.
    """

    length: int
    fold: bool
    logit_dtype: torch.dtype
    device: torch.device

    def pack(self, captions: Sequence[Tensor]) -> WanText:
        """Captions [L_i, D], none longer than the padded length, as one batch."""
        attended = self._attended(max(len(caption) for caption in captions))
        embeds = [pad(caption.float(), (0, 0, 0, attended - len(caption))) for caption in captions]
        return self._with_bias(to_device(torch.stack(embeds), self.device))

    def mixed(self, text: WanText, other: WanText, mask_B: Tensor) -> WanText:
        """``other`` (of size 1 or B) where the mask is true, ``text`` elsewhere. Does not wait for the device."""
        attended = max(text.embeds_BLD.shape[1], other.embeds_BLD.shape[1])
        mine, theirs = (pad(each.embeds_BLD, (0, 0, 0, attended - each.embeds_BLD.shape[1])) for each in (text, other))
        return self._with_bias(torch.where(mask_B.to(self.device)[:, None, None], theirs, mine))

    def _attended(self, longest: int) -> int:
        if not self.fold:
            return self.length
        needed = longest + _FOLDED
        return min(self.length, -(-needed // _MULTIPLE) * _MULTIPLE)

    def _with_bias(self, embeds_BLD: Tensor) -> WanText:
        attended = embeds_BLD.shape[1]
        if attended == self.length:
            return WanText(embeds_BLD, None)
        return WanText(embeds_BLD, _pad_bias_on(self.device, attended, self.length, self.logit_dtype))


@cache
def _pad_bias_on(device: torch.device, attended: int, length: int, dtype: torch.dtype) -> Tensor:
    """The bias [L] on the device, copied there once: a run has at most ``length`` / 8 different ones."""
    return to_device(pad_bias(attended, length, dtype), device)


def pad_bias(attended: int, length: int, dtype: torch.dtype) -> Tensor:
    """The bias [L] under which ``attended`` tokens, at least the last two of them padding, weigh as much as ``length``.

    Every token but the last two weighs 1 (bias 0). Those two take the rest: the first of them its log, rounded down to ``dtype``, the
    second the log of what the rounding left.
    """
    rest = torch.tensor(float(length - attended + _FOLDED), dtype=torch.float64)
    rounded = rest.log().to(dtype)
    below = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
    first = torch.where(rounded.double() > rest.log(), below, rounded)
    bias_L = torch.zeros(attended, dtype=dtype)
    bias_L[-2] = first
    # Rounding may have left nothing; the log is kept finite, so that no kernel has to deal with -inf.
    bias_L[-1] = (rest - first.double().exp()).clamp_min(1e-12).log()
    return bias_L


def own(condition: Condition) -> WanText:
    """A condition, as this family's own kind."""
    assert isinstance(condition, WanText), f"a Wan model is conditioned on WanText, got {type(condition).__name__}"
    return condition
