"""The model of a family that is conditioned on captions alone: it says how a prompt is encoded and how its denoiser is called."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from distill_diffusers.adapter import CaptionAdapter
from distill_diffusers.conditions import CaptionPadding, NamedTensors
from distill_diffusers.features import Layers
from distill_diffusers.model import DiffusersModel
from distill_diffusers.options import OptionsT


class CaptionModel(DiffusersModel[OptionsT, NamedTensors]):
    """A :class:`DiffusersModel` whose captions are named tensors.

    Attributes:
        pads_text: whether the denoiser attends the padding of captions, so that it is part of what it was trained with; else it is told
            a mask, and a batch is as long as its longest caption.
        layers: where its denoiser's layers are, of a family that hands out their outputs ("features"); its facts say how many, how wide.
    """

    pads_text: ClassVar[bool]
    layers: ClassVar[Layers | None] = None

    @abstractmethod
    def velocity(self, denoiser: nn.Module, noisy_BCTHW: Tensor, timestep_B: Tensor, captions: NamedTensors) -> Tensor:
        """v ≈ ε - x0, [B, C, T, H, W]; ``timestep_B`` is float32 in [0, 1000]."""
        ...

    def make_adapter(self) -> CaptionAdapter:
        """The operations, by :meth:`velocity`."""
        padding = CaptionPadding(self.facts.text_length if self.pads_text else None, self.device)
        return CaptionAdapter(
            self.facts,
            self.captions,
            self.codec,
            padding,
            self.velocity,
            negative_prompt=self.facts.negative_prompt,
            compute_dtype=self.compute_dtype,
            layers=self.layers,
        )
