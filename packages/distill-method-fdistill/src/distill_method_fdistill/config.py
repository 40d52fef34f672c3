"""``method_config`` of f-distill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from distill_matching.options import DiscriminatorOptions, MatchingOptions

Divergence = Literal["rkl", "kl", "js", "sf", "neyman", "sh", "jf"]


class FdistillOptions(DiscriminatorOptions, MatchingOptions):
    """Options of f-distill: DMD2's, and the divergence. Timesteps are in [0, 1000], 1000 is pure noise."""

    divergence: Annotated[Divergence, Field(json_schema_extra={"known_as": ["f_div"]})] = "js"
    """rkl is DMD2. kl, jf, sh, and js within bounds pull harder where real clips are the likelier; sf and neyman where samples are."""
    ratio_min: Annotated[float, Field(gt=0, json_schema_extra={"known_as": ["ratio_lower"]})] = 0.1
    """The density ratio real : fake is at least this."""
    ratio_max: Annotated[float, Field(gt=0, json_schema_extra={"known_as": ["ratio_upper"]})] = 20.0
    """The density ratio is at most this."""
    weight_mean: Literal["running", "none"] = "running"
    """running: weights are divided by the mean of those before, in bins of the score timestep. none: they are taken as they are."""
    weight_bins: Annotated[int, Field(ge=1, json_schema_extra={"known_as": ["bin_num"]})] = 10
    """Bins of the score timestep, equally wide."""
    weight_keep: Annotated[float, Field(gt=0, lt=1, json_schema_extra={"known_as": ["ratio_ema_rate"]})] = 0.9
    """The share of its mean that a bin keeps when a batch has samples in it."""
    gan_weight: Annotated[float, Field(gt=0, json_schema_extra={"known_as": ["gan_loss_weight_gen"]})] = 0.001
    """Weight of the GAN loss on the student. Above 0: the density ratio is the discriminator's."""

    def contradictions(self) -> Iterator[str]:
        """Bounds out of order."""
        yield from super().contradictions()
        if self.ratio_min > self.ratio_max:
            yield "ratio_min is above ratio_max; exchange them"

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Weights that are all 1, and a mean of them that is not kept."""
        yield from super().idle()
        if self.divergence == "rkl":
            names = ("ratio_min", "ratio_max", "weight_mean", "weight_bins", "weight_keep")
            yield "divergence is rkl, whose weights are all 1", names
        elif self.weight_mean == "none":
            yield "weight_mean is none", ("weight_bins", "weight_keep")

    def roles_to_step(self, step: int) -> tuple[str, ...]:
        """Critic and discriminator on every step, the student too on every ``generator_update_interval``-th, or there in their stead."""
        return self.turn(step, ("critic", "discriminator"))
