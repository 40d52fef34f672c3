"""The operations of a family whose predictions are passes: whatever the contract has a name for, but pictures and pixels.

B batch, T latent frames, C channels, H W latent rows and columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from distill_core.protocols import Ask, Condition, Prediction
from distill_diffusers.adapter import ConditionT, DiffusersAdapter
from distill_diffusers.captions import CaptionEncoder
from distill_diffusers.causal.streams import Past, gone_on, own_stream, past_of
from distill_diffusers.codec import VideoCodec
from distill_diffusers.experts import rows_of_experts
from distill_diffusers.passes.asks import PASS_OPERATIONS
from distill_diffusers.passes.experts import by_experts
from distill_diffusers.passes.one_pass import Passes

if TYPE_CHECKING:
    from distill_core.protocols.adapter import Modules


class PassAdapter(DiffusersAdapter[ConditionT]):
    """A :class:`DiffusersAdapter` with every operation of :data:`PASS_OPERATIONS`. A family says how captions are packed.

    Attributes:
        passes: what runs a denoiser.
    """

    def __init__(self, passes: Passes, captions: CaptionEncoder, codec: VideoCodec) -> None:
        super().__init__(
            passes.facts,
            captions,
            codec,
            negative_prompt=passes.facts.negative_prompt,
            compute_dtype=passes.compute_dtype,
            device=passes.device,
        )
        self.passes = passes

    @property
    def operations(self) -> frozenset[str]:
        """What it offers."""
        return PASS_OPERATIONS

    def velocity(
        self, denoiser: nn.Module, noisy_BTCHW: Tensor, timestep_B: Tensor, condition: Condition, ask: Ask
    ) -> Tensor:
        """One plain pass."""
        return self.passes.run(denoiser, noisy_BTCHW, timestep_B, condition, ask, Past()).velocity

    def predict(
        self, modules: Modules, noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """v ≈ ε - x0, float32 [B, T, C, H, W], and whatever else is asked for. Of two experts, each sample is predicted by the one that its
        timestep belongs to, and a stream remembers what each of them makes of the frames."""
        if not ask.parts and timestep.ndim == 1:
            return super().predict(modules, noisy_BTCHW, timestep, condition, ask)
        names = tuple(modules)
        first = modules[names[0]]
        grid = self.passes.grid(noisy_BTCHW.shape)
        stream = own_stream(ask.stream, first, len(noisy_BTCHW), grid[1:])
        if len(names) == 1:
            outcome = self.passes.run(first, noisy_BTCHW, timestep, condition, ask, past_of(stream, names[0]))
            segments = {} if outcome.segment is None else {names[0]: outcome.segment}
        else:
            rows = rows_of_experts(names, timestep, self.boundaries[first])
            outcome, segments = by_experts(self.passes, modules, noisy_BTCHW, timestep, condition, ask, stream, rows)
        stored = gone_on(stream, first, len(condition), grid, segments, ask.window, ask.sink) if ask.store else None
        return Prediction(outcome.velocity, outcome.features, outcome.derivative, stored)
