"""Operations of a model family, asked for by name. An adapter offers some of them; a method lists those that it needs.

Shapes: B batch, T latent frames, C channels, H W latent rows and columns, F H' W' frames, rows and columns of pixels. Latents are
normalised (mean 0, standard deviation 1 per channel) and have the one layout [B, T, C, H, W] everywhere outside an adapter. What follows
from a velocity by arithmetic is no operation: :mod:`distill_core.flow` has it, once for every family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from distill_core.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distill_core.protocols.condition import Condition, Prompt
    from distill_core.protocols.data import Row
    from distill_core.protocols.prediction import Ask, Prediction

    Modules = Mapping[str, nn.Module]
    """The modules of one role, by the names that the family gives them (e.g. "transformer")."""


class Adapter(Protocol):
    """What every family offers: a condition, and the prediction under it."""

    def prepare_condition(self, rows: Sequence[Row]) -> Condition:
        """What rows of the data set hold for this family's predictions, on the device. Raises DataError for rows that do not fit."""
        ...

    def predict(
        self, modules: Modules, noisy_BTCHW: Tensor, timestep: Tensor, condition: Condition, ask: Ask
    ) -> Prediction:
        """v ≈ ε - x0, and whatever else is asked for of what the family declares.

        ``timestep`` is float64 [B] in [0, 1000], or [B, T] where "frame_timesteps" is declared; ``ask.sparsity`` is a number.
        """
        ...


@runtime_checkable
class HasExperts(Protocol):
    """What the adapter of a family has besides, of which some members have two experts."""

    def boundary(self, modules: Modules) -> float | None:
        """The timestep from which on the first of a role's experts denoises; None for a role that has one."""
        ...


@runtime_checkable
class ShiftsFlow(Protocol):
    """Operation "flow_shift"."""

    def flow_shift(self, latent_shape: tuple[int, int, int, int]) -> float:
        """s of t' = 1000 s u / (1 + (s - 1) u), u = t / 1000, for samples of [T, C, H, W]; some families shift longer clips more."""
        ...


@runtime_checkable
class HasUnconditional(Protocol):
    """Operation "unconditional"."""

    def unconditional(self, condition: Condition) -> Condition:
        """The "unconditional" side of guidance: the negative prompt for the caption, everything else (a first frame) kept."""
        ...


@runtime_checkable
class MixesUnconditional(Protocol):
    """Operation "unconditional_where"."""

    def unconditional_where(self, condition: Condition, mask_B: Tensor) -> Condition:
        """The same conditions, with their unconditional side where the boolean mask [B] is true: both sides of guidance in one batch."""
        ...


@runtime_checkable
class DropsCondition(Protocol):
    """Operation "drop_condition"."""

    def drop_condition(self, condition: Condition, dropped_B: Tensor) -> Condition:
        """The same conditions, with the empty caption where the boolean mask [B] is true."""
        ...


@runtime_checkable
class EncodesCondition(Protocol):
    """Operation "encode_condition"."""

    def encode_condition(self, prompts: Sequence[Prompt]) -> Condition:
        """What a person says and shows, through the family's encoders. A family may stand beside another's data by it.

        Prompts have pictures where the family declares :data:`PICTURES`.
        """
        ...


@runtime_checkable
class DecodesLatents(Protocol):
    """Operation "decode_latents"."""

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as uint8 frames [B, F, H', W', 3], F = (T - 1) · temporal_stride + 1."""
        ...


@runtime_checkable
class DecodesPixels(Protocol):
    """Operation "decode_pixels"."""

    def decode_pixels(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as float32 frames [B, F, 3, H', W'] in [0, 1], with the graph; activations are made anew in backward."""
        ...


@runtime_checkable
class EncodesPixels(Protocol):
    """Operation "encode_pixels"."""

    def encode_pixels(self, pixels_BFCHW: Tensor) -> Tensor:
        """float frames [B, F, 3, H', W'] in [0, 1] as normalised float32 latents [B, T, C, H, W], with the graph."""
        ...


@runtime_checkable
class Extends(Protocol):
    """Any operation whose name has a dot: a family's own, for methods that know it."""

    def extension(self, name: str) -> Callable[..., object]:
        """The operation of that name, e.g. "acme.depth"; it is called with the role's modules first."""
        ...


PARTS: Mapping[str, str] = {
    "frame_timesteps": "a timestep of each frame",
    "until": "a second time: mean velocity, flow maps",
    "along": "the derivative in a direction",
    "features": "outputs of hidden layers",
    "blocks": "block-causal attention",
    "clean": "clean frames as context",
    "stream": "a memory of the frames before",
}
"""What a prediction can be asked for beyond the velocity (:class:`distill_core.protocols.prediction.Ask`), each a name of its own."""


def refuse_undeclared(ask: Ask, timestep: Tensor, operations: frozenset[str]) -> None:
    """Raise PluginError if a prediction is asked for a part that the family, which declares ``operations``, does not offer.

    A run is refused earlier; an adapter that begins with this never passes over what it was asked for.
    """
    by_frame = {"frame_timesteps"} if timestep.ndim == 2 else set()
    missing = sorted((ask.parts | by_frame) - operations)
    if missing:
        raise PluginError(
            f"a prediction is asked for {', '.join(f'{name} ({PARTS[name]})' for name in missing)}, which its model does not offer"
        )


PICTURES = ("first_frame", "last_frame")
"""What a condition can show besides a caption: pictures in the prompts of "encode_condition", and in validation requests."""

OPERATIONS: Mapping[str, type] = {
    "predict": Adapter,
    **dict.fromkeys(PARTS, Adapter),
    **dict.fromkeys(PICTURES, EncodesCondition),
    "flow_shift": ShiftsFlow,
    "unconditional": HasUnconditional,
    "unconditional_where": MixesUnconditional,
    "drop_condition": DropsCondition,
    "encode_condition": EncodesCondition,
    "decode_latents": DecodesLatents,
    "decode_pixels": DecodesPixels,
    "encode_pixels": EncodesPixels,
}
"""Every operation of the core's own by the name that specs use for it. A name with a dot is an outsider's (:class:`Extends`)."""
