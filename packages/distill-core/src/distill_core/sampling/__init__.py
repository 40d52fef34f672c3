"""Sampling while a run goes on: the validator, and the metrics that measure what it sampled."""
