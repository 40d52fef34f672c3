"""distill: a video diffusion model and a distillation method, each a plugin, composed into one training run.

This package is the core. It knows no model family and no method; both are found at run time through the entry-point group ``distill``.
"""

__version__ = "0.1.0"
