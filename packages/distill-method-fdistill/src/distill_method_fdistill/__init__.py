"""f-distill for distill: distribution matching under any f-divergence (arXiv 2502.15681)."""
