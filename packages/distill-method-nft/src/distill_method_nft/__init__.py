"""Training by rewards for distill: DiffusionNFT (arXiv 2509.16117), ReFL (arXiv 2304.05977) and DRaFT (arXiv 2309.17400)."""
