"""What this package offers to distill: an importer for each trainer that it knows. Imports no torch."""

from __future__ import annotations

from functools import partial

from distill_core.plugins import ImporterSpec, hookimpl
from distill_core.plugins.registry import Registry
from distill_importers.trainers import TRAINERS
from distill_importers.translation import translated

PLUGIN_API = 1


@hookimpl
def distill_register_importers(registry: Registry[ImporterSpec]) -> None:
    """Offer them all."""
    for trainer in TRAINERS:
        registry.add(
            ImporterSpec(
                name=trainer.name, summary=f"configs of {trainer.title}", translate=partial(translated, trainer)
            )
        )
