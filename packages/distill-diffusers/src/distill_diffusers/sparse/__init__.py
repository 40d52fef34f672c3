"""Video sparse attention (Zhang et al., arXiv 2505.13389): which cubes of tokens a cube attends to, and the engines that compute it."""

CUBE: tuple[int, int, int] = (4, 4, 4)
"""Tokens of a cube along time, height and width: what every published checkpoint was trained with."""
