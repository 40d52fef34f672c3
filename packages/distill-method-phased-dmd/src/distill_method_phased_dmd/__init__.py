"""Phased DMD for distill: distribution matching of two experts, each within its own range of noise (arXiv 2510.27684)."""
