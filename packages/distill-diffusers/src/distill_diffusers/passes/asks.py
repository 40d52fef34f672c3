"""What may be asked of a family whose predictions are passes, by its names in the contract. Imports no torch."""

from __future__ import annotations

from distill_diffusers.spec import OPERATIONS

CAUSAL = frozenset({"blocks", "clean", "stream"})
"""What causal self-attention is for."""

FRAMEWISE = CAUSAL | {"frame_timesteps"}
"""What tells one latent frame from the next."""

DENSE_ONLY = CAUSAL | {"along"}
"""What sparse attention does not go with: its cubes reach over blocks, and what it selects has no derivative."""

PASS_OPERATIONS = OPERATIONS | FRAMEWISE | {"until", "along", "features"}
"""What the adapter of :mod:`distill_diffusers.passes.adapter` offers."""

FRESH_LAYERS = ("*.to_gate_compress", "*.second.linear_*")
"""Layers that a published denoiser lacks, and a role may be given: a LoRA trains them whole."""
