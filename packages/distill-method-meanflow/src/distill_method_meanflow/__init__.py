"""MeanFlow for distill: mean velocities between two times."""
