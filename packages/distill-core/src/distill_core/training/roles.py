"""The default role: modules of one participant, the family's operations on them, and what trains them.

A role knows its own name and nothing of other roles. Frozen means no graph: the role sees to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from distill_core.protocols.adapter import Adapter, Condition
from distill_core.training.averages import WeightAverage
from distill_core.training.optimization import RoleOptimizer


class RoleHandle:
    """The :class:`distill_core.protocols.Role` of every run.

    Attributes:
        optimizer: what trains the role; None for a frozen one. Set once, when the run is built.
        average: the role's EMA, if it keeps one.
        sparsity: of its sparse attention, where a prediction is not told another; the trainer sets it, once per step.
    """

    def __init__(self, name: str, modules: Mapping[str, nn.Module], adapter: Adapter, *, trainable: bool) -> None:
        self.name = name
        self.trainable = trainable
        self.container = nn.ModuleDict(modules)
        self.adapter = adapter
        self.optimizer: RoleOptimizer | None = None
        self.average: WeightAverage | None = None
        self.sparsity = 0.0
        self.container.requires_grad_(trainable)
        self.container.train(trainable)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The role's modules, by the family's names."""
        return dict(self.container.items())

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by their names in ``container``."""
        return {name: parameter for name, parameter in self.container.named_parameters() if parameter.requires_grad}

    def _graph(self, input_gradients: bool) -> AbstractContextManager[object]:
        return nullcontext() if self.trainable or input_gradients else torch.no_grad()

    def add_noise(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep_B: Tensor) -> Tensor:
        """x_t = (1 - σ) x0 + σ ε."""
        return self.adapter.add_noise(clean_BTCHW, noise_BTCHW, timestep_B)

    def predict_velocity(
        self,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float | None = None,
        input_gradients: bool = False,
    ) -> Tensor:
        """v ≈ ε - x0, float32 [B, T, C, H, W]; without a graph for a frozen role, unless ``input_gradients`` asks for one."""
        with self._graph(input_gradients):
            return self.adapter.predict_velocity(
                self.modules,
                noisy_BTCHW,
                timestep_B,
                text,
                attn_kind=attn_kind,
                sparsity=self.sparsity if sparsity is None else sparsity,
            )

    def predict_x0(
        self,
        noisy_BTCHW: Tensor,
        timestep_B: Tensor,
        text: Condition,
        *,
        attn_kind: str = "dense",
        sparsity: float | None = None,
        input_gradients: bool = False,
    ) -> Tensor:
        """x̂0 = x_t - σ v, float32 [B, T, C, H, W]; without a graph for a frozen role, unless ``input_gradients`` asks for one."""
        with self._graph(input_gradients):
            return self.adapter.predict_x0(
                self.modules,
                noisy_BTCHW,
                timestep_B,
                text,
                attn_kind=attn_kind,
                sparsity=self.sparsity if sparsity is None else sparsity,
            )

    def shift_timestep(self, timestep_B: Tensor) -> Tensor:
        """The run's flow shift on timesteps in [0, 1000]."""
        return self.adapter.shift_timestep(timestep_B)

    def negative_text(self, size: int) -> Condition:
        """The negative prompt for a batch of ``size``."""
        return self.adapter.negative_text(size)

    def drop_captions(self, text: Condition, dropped_B: Tensor) -> Condition:
        """The empty caption where the mask [B] is true."""
        return self.adapter.drop_captions(text, dropped_B)

    def encode_text(self, captions: Sequence[str]) -> Condition:
        """Captions through the family's text encoder."""
        return self.adapter.encode_text(captions)

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as uint8 frames [B, F, H, W, 3]."""
        return self.adapter.decode_latents(latents_BTCHW)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the modules hold the EMA weights, if the role keeps an EMA."""
        if self.average is None:
            yield
            return
        with self.average.applied(self.trained_parameters()):
            yield
