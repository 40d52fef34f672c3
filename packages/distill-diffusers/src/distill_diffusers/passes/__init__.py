"""Predictions of which more is asked than a velocity: one pass of a denoiser as an ask wants it, for any family whose tokens are a grid."""
