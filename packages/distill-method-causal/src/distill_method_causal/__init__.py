"""Causal video models for distill: flow matching, regression and consistency of students that make a clip block by block."""
