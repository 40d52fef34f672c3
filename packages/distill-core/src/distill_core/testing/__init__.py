"""For authors of plugins: a toy model that trains in milliseconds, and the contract that every method keeps.

Tests of a method package use ``pytest_plugins = ["distill_core.testing.fixtures"]``, or call :mod:`distill_core.testing.contracts`.
"""
