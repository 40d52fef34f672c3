"""The FLUX.1 family for distill."""
