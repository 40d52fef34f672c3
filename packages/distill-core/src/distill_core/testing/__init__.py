"""For authors of plugins: a toy family that trains in milliseconds, and the contracts that methods and families keep.

Tests call :mod:`distill_core.testing.contracts`; ``pytest_plugins = ["distill_core.testing.fixtures"]`` has the same as fixtures.
"""
