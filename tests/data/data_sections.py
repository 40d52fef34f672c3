"""A `data` section as a mixture."""

from __future__ import annotations

from distill_core.config.schema import Data
from distill_core.data.dataset import open_dataset
from distill_core.data.mixture import Mixture, Part


def open_mixture(data: Data, latents: bool) -> Mixture:
    """The data of a run's section, as its preparation opens them."""
    parts = [Part(open_dataset(data.path, latents), data.repeats)]
    parts += [Part(open_dataset(more.path, latents), more.repeats) for more in data.mix]
    return Mixture(parts)
