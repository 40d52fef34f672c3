"""Whether a run's clips and batches are what its method demands under its options: lengths, and places that are one place."""

from __future__ import annotations

from distill_core.config.schema import RunConfig
from distill_core.data.reading.plan import DataPlan
from distill_core.errors import ConfigError, DataError, Problem
from distill_core.plugins.specs import Demands


def refuse_lengths(plan: DataPlan, demands: Demands) -> None:
    """Raise DataError for clips of other numbers of latent frames than the method works with under its options."""
    lengths = sorted({bucket.latent_shape[0] for bucket in plan.buckets})
    shortest, least, whole = lengths[0], demands.least_frames, demands.frames_of
    cut = "data.num_frames says to how many frames they are cut"
    if shortest < least:
        raise DataError(
            f"with it the method needs clips of {least} latent frames or more, and the run trains on some of {shortest}; take longer "
            f"clips ({cut}), or smaller blocks"
        )
    uneven = [length for length in lengths if length % whole]
    if uneven:
        raise DataError(
            f"with it the method needs clips of a multiple of {whole} latent frames, and the run trains on some of {uneven[0]}; cut them "
            f"to {uneven[0] // whole * whole} ({cut}), or take other blocks"
        )


def refuse_shared_places(config: RunConfig, plan: DataPlan, processes: int) -> None:
    """Raise ConfigError for runs in which a place in the batch is not one place: for a method that keeps something of each."""
    what = "the method keeps something for each place in the batch"
    problems = []
    if processes > 1:
        problems.append(
            Problem("recipe.method", f"{what}, and {processes} processes would share the places; start one")
        )
    if config.training.gradient_accumulation_steps > 1:
        message = f"{what}, and several micro-batches would meet in it; set it to 1, and train_batch_size higher"
        problems.append(Problem("training.gradient_accumulation_steps", message))
    if len(plan.buckets) > 1:
        message = f"{what}, and clips of {len(plan.buckets)} shapes would meet in it; cut them to one by num_frames, num_height, num_width"
        problems.append(Problem("data.path", message))
    if problems:
        raise ConfigError(problems)
