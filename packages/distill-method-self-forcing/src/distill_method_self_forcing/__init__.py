"""Causal students that match a bidirectional teacher's distribution, for distill: CausVid and Self-Forcing."""
