"""Consistency training and distillation for distill: CM with ECT's curriculum, TCM, sCM."""
