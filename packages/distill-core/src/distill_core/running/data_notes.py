"""What is to be said of a run's data that is no fault: it trains, and may not be what was meant."""

from __future__ import annotations

from collections.abc import Iterator

from distill_core.config.blame import Faults
from distill_core.config.checks import family_of
from distill_core.config.data_sets import listed_data
from distill_core.config.resolve import Findings, ResolvedRun
from distill_core.data.examining.normalisation import ChannelMoments, look_at_some, normalised_note
from distill_core.data.examining.provenance import OwnEncoders
from distill_core.data.reading.mixture import Mixture


def data_notes(run: ResolvedRun | Findings, dataset: Mixture, faults: Faults) -> Iterator[str]:
    """Data that other encoders made than those of the run's first role, and latents that look normalised already.

    A few rows are read for it; a bad one among them is a fault, where those are not skipped.
    """
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
