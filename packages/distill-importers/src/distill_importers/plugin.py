"""What this package offers to distill: an importer for each trainer that it knows. Imports no table before one is asked for."""

from __future__ import annotations

from distill_core.plugins import ImporterSpec, hookimpl
from distill_core.plugins.registry import Registry

PLUGIN_API = 2

NAMES = {
    "fastvideo": "FastVideo",
    "fastvideo-rfc": "FastVideo's RFC",
    "fastgen": "FastGen",
    "self-forcing": "Self-Forcing",
    "causvid": "CausVid",
    "lightx2v": "LightX2V",
    "musubi-tuner": "musubi-tuner",
    "diffusion-pipe": "diffusion-pipe",
}
"""What ``distill import --from`` calls each trainer, and what people do."""


@hookimpl
def distill_register_importers(registry: Registry[ImporterSpec]) -> None:
    """Offer them all."""
    for name, title in NAMES.items():
        registry.add(
            ImporterSpec(
                name=name,
                summary=f"configs of {title}",
                build=f"distill_importers.trainers:{name.replace('-', '_')}",
            )
        )
