"""What ranks do together at a step's end, in a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from distill_core.planning.played_parts import PlayedParts
from distill_core.ranks.ranks import Ranks
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.reduction import Reduction, buckets


class PlayedReduction(Reduction):
    """The same for whole weights; of weights in parts, what lies flat while replicas make their mean."""

    def __init__(self, ranks: Ranks, parts: PlayedParts) -> None:
        super().__init__(ranks)
        self.parts = parts

    def settle(
        self, optimizers: Mapping[str, RoleOptimizer], parameters: Sequence[nn.Parameter], poison: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients as if they were means, and their norms."""
        held = [parameter for parameter in parameters if parameter in self.parts]
        whole = [parameter for parameter in parameters if parameter not in self.parts]
        if held and self.ranks.layout.replicate > 1:
            for bucket in buckets(held):
                self.parts.lies_flat(bucket)
        self._send(optimizers, parameters)
        if whole or not held:
            poison = self._average(whole, poison)
        return {name: optimizer.norm() for name, optimizer in optimizers.items()}, poison

    def _send(self, optimizers: Mapping[str, RoleOptimizer], parameters: Sequence[nn.Parameter]) -> None:
        """A reduction over N ranks has each get and give 2 (N - 1) / N of its bytes: of a whole gradient, or of a part among replicas."""
        reduced = set(parameters)
        for name, optimizer in optimizers.items():
            for parameter in reduced & set(optimizer.parameters.values()):
                count = self.ranks.layout.replicate if parameter in self.parts else self.ranks.size
                assert parameter.grad is not None
                self.parts.ledger.send(name, 2.0 * (count - 1) / count * self.parts.ledger.counted(parameter.grad))
