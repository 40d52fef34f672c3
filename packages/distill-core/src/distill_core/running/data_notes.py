"""What is to be said of a run's data that is no fault: it trains, and may not be what was meant."""

from __future__ import annotations

from collections.abc import Iterator

from distill_core.config.blame import Faults
from distill_core.config.checks import family_of
from distill_core.config.data_sets import listed_data
from distill_core.config.resolve import Findings, ResolvedRun
from distill_core.config.schema import Training
from distill_core.data.examining.normalisation import ChannelMoments, look_at_some, normalised_note
from distill_core.data.examining.provenance import OwnEncoders
from distill_core.data.reading.mixture import Mixture
from distill_core.data.reading.plan import DataPlan


def data_notes(run: ResolvedRun | Findings, dataset: Mixture, plan: DataPlan, faults: Faults) -> Iterator[str]:
    """Batches that repeat rows, data that other encoders made than those of the run's first role, latents that look normalised already.

    A few rows are read for it; a bad one among them is a fault, where those are not skipped.
    """
    yield from _of_repeats(run.config.training, plan)
    lead, facts = next(iter(run.facts.items()))
    path = run.config.roles[lead].path
    assert path is not None, "a role with facts has a folder"
    own = OwnEncoders(family_of(run.config, lead), path, facts)
    for listed, part in zip(listed_data(run.config.data), dataset.parts, strict=True):
        yield from part.dataset.remarks
        yield from own.notes(listed.path, part.dataset.files)
        moments = ChannelMoments()
        with faults.at(*listed.key):
            moments = look_at_some(part.dataset, skip_bad=run.config.data.on_bad_row == "skip")
        note = normalised_note(moments, facts.latent_space, listed.path)
        if note is not None:
            yield note


def _of_repeats(training: Training, plan: DataPlan) -> Iterator[str]:
    """A step, of all processes, that draws more samples than there are rows; or a batch that does of the rows of its shape."""
    batch, parts, rows = training.train_batch_size, training.gradient_accumulation_steps, plan.different
    if batch * parts > rows:
        what = f"training.train_batch_size={batch}" + (f", gradient_accumulation_steps={parts}" if parts > 1 else "")
        yield (
            f"a step draws {batch * parts} samples ({what}) of {rows} rows: it repeats them, up to {-(-batch * parts // rows)} times each; "
            f"{rows} or fewer repeat none, and `distill plan` says what memory a step needs"
        )
        return
    short = [bucket for bucket in plan.buckets if bucket.different < batch]
    if short:
        least = min(short, key=lambda bucket: bucket.different)
        yield (
            f"a batch is of one shape, and draws {batch} samples (training.train_batch_size): {len(short)} of {len(plan.buckets)} shapes "
            f"have fewer rows, latents [T, C, H, W] = {list(least.latent_shape)} {least.different}; their batches repeat some"
        )
