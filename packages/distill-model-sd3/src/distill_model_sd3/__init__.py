"""The Stable Diffusion 3 family for distill."""
