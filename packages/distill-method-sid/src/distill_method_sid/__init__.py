"""Score identity distillation (SiD) and score-gradient matching (SGMD) for distill: losses with gradients through the scores."""
