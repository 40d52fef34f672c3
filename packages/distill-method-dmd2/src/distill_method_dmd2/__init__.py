"""DMD2 for distill: distribution matching distillation of a few-step student (arXiv 2405.14867)."""
