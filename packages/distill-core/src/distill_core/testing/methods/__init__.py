"""The conformance kit for methods; :func:`distill_core.testing.contracts.check_method` is its door."""
