"""The one question that a denoiser is asked, and its answer.

B batch, T latent frames, C channels, H W latent rows and columns. Timesteps are float64 in [0, 1000]: [B], or [B, T] of each frame where
a family offers "frame_timesteps"; σ = t / 1000, x_t = (1 - σ) x0 + σ ε, v = ε - x0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Stream(Protocol):
    """What a causal prediction remembers of the frames before. A family's own type, never changed once it is made."""

    def __len__(self) -> int:
        """The batch size B."""
        ...

    @property
    def frames(self) -> int:
        """Latent frames that have gone by: where the next ones stand."""
        ...


@dataclass(frozen=True)
class Tangents:
    """A direction in which a prediction is differentiated; the derivative is per unit of σ, not of the timestep.

    Attributes:
        noisy: dx, [B, T, C, H, W].
        sigma: dσ, [B] or [B, T], as the timestep is.
        until: dσ of the second time, where the prediction has one.
    """

    noisy: Tensor
    sigma: Tensor
    until: Tensor | None = None


@dataclass(frozen=True)
class Ask:
    """How one prediction is to be made, and what of it is wanted besides the velocity.

    What is asked for beyond the plain velocity has a name, in brackets: a family declares those that it offers in
    ``ModelSpec.operations``, a method those that it asks of a role in ``RoleNeed.operations``.

    Attributes:
        attn_kind: the kind of attention.
        sparsity: of a sparse kind; None is the role's own at this step.
        until: a second time r ≤ t, shaped like the timestep: v is then the mean velocity from t to r ["until"].
        along: the derivative of v in this direction is wanted, without a graph ["along"].
        features: hidden layers, from 0, whose outputs are wanted ["features"].
        blocks: frames attend block by block of so many latent frames, no block to a later one ["blocks"].
        clean: latents [B, T, C, H, W] of which a block sees those of the blocks before it, instead of the noisy ones ["clean"].
        stream: what went before these frames ["stream"].
        store: whether a stream that has these frames too is wanted ["stream"].
        window: the stored stream keeps so many of the newest latent frames, None all ["stream"].
        sink: and so many of the very first ["stream"].
    """

    attn_kind: str = "dense"
    sparsity: float | None = None
    until: Tensor | None = None
    along: Tangents | None = None
    features: tuple[int, ...] = ()
    blocks: int | None = None
    clean: Tensor | None = None
    stream: Stream | None = None
    store: bool = False
    window: int | None = None
    sink: int = 0

    @property
    def parts(self) -> frozenset[str]:
        """The names of what is asked for beyond the plain velocity."""
        asked = {
            "until": self.until is not None,
            "along": self.along is not None,
            "features": bool(self.features),
            "blocks": self.blocks is not None,
            "clean": self.clean is not None,
            "stream": self.stream is not None or self.store,
        }
        return frozenset(name for name, wanted in asked.items() if wanted)


@dataclass(frozen=True)
class Prediction:
    """What came of it.

    Attributes:
        velocity: v ≈ ε - x0, float32 [B, T, C, H, W].
        features: the output of each layer asked for, float32 [B, T', D, H', W'] at the resolution of the family's tokens, with the graph.
        derivative: of v along the tangents, float32, without a graph.
        stream: the stream that has these frames too.
    """

    velocity: Tensor
    features: tuple[Tensor, ...] = ()
    derivative: Tensor | None = None
    stream: Stream | None = None

    def first(self, count: int) -> Prediction:
        """The answer for the first ``count`` samples, to a question for neither a derivative nor a stream."""
        return Prediction(self.velocity[:count], tuple(layer[:count] for layer in self.features))
