"""LADD for distill: latent adversarial distillation of a few-step student (arXiv 2403.12015)."""
