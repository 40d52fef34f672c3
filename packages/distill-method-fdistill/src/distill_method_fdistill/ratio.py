"""The discriminator of f-distill, whose logits are log density ratios, with the running means of the weights that follow from them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distill_core.flow import TRAIN_TIMESTEPS
from distill_core.plugins import ModelFacts
from distill_matching.discriminator import Discriminator
from distill_method_fdistill.config import FdistillOptions


class RatioDiscriminator(Discriminator):
    """A discriminator that remembers, for each bin of the score timestep, the mean weight of the samples that it saw there.

    The means are a buffer, so that a checkpoint has them.
    """

    def __init__(self, facts: Mapping[str, ModelFacts], options: FdistillOptions) -> None:
        super().__init__(facts, options)
        self.keep = options.weight_keep
        self.mean_weight: Tensor
        self.register_buffer("mean_weight", torch.ones(options.weight_bins))

    @torch.no_grad()
    def mean_at(self, timestep_B: Tensor) -> Tensor:
        """The mean weight at each timestep, [B]: of the batches before, so that no sample's weight depends on its neighbours."""
        return self.mean_weight[self._bin(timestep_B)]

    @torch.no_grad()
    def learn(self, weight_B: Tensor, timestep_B: Tensor) -> None:
        """Move the mean of each bin that has samples towards theirs, over all ranks."""
        bin_B = self._bin(timestep_B)
        found = torch.zeros(2, len(self.mean_weight), dtype=weight_B.dtype, device=weight_B.device)
        found[0].index_add_(0, bin_B, weight_B)
        found[1].index_add_(0, bin_B, torch.ones_like(weight_B))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(found)
        total, count = found
        moved = self.keep * self.mean_weight + (1.0 - self.keep) * total / count.clamp(min=1.0)
        self.mean_weight.copy_(torch.where(count > 0, moved, self.mean_weight))

    def _bin(self, timestep_B: Tensor) -> Tensor:
        bins = len(self.mean_weight)
        return (timestep_B / TRAIN_TIMESTEPS * bins).long().clamp(max=bins - 1).to(self.mean_weight.device)
