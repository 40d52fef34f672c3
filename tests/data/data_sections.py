"""A `data` section as a mixture."""

from __future__ import annotations

from distill_core.config.data_sets import listed_data
from distill_core.config.schema import Data
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.mixture import Mixture, Part


def open_mixture(data: Data, latents: bool) -> Mixture:
    """The data of a run's section, as its preparation opens them."""
    parts = [Part(open_dataset(each.path, latents), each.repeats, each.share) for each in listed_data(data)]
    return Mixture(parts)
